"""Losses of every strategy, by the reference's: for golden files and for training beside it. Its folder has to be on the path."""

import ckaad_torch as R
import torch
import torch.nn.functional as F

BCE = F.binary_cross_entropy_with_logits


def against(outputs, target):
    return sum(BCE(o, torch.full_like(o, target)) for o in outputs)


def step(strategy, d, real, bad, recon, recon_bad, update, sub, weight=R.Hyper.adv, margin=R.MARGIN):
    """Losses of one step; `update` applies the discriminator's gradients, `weight` is that of the adversarial term."""
    rec = R.reconstruction_loss(real, recon)
    if strategy == "recon":
        return dict(recon=rec, loss=rec)
    if strategy == "reconsub":
        of_bad = R.reconstruction_loss(bad, recon_bad)
        return dict(recon=rec, recon_anomalous=of_bad, loss=rec - sub * of_bad)
    fake = [torch.cat(p) for p in zip(recon, recon_bad)]
    detached = [f.detach() for f in fake]
    if strategy == "gan":
        d_loss = against(d(real), 1.0) + against(d(detached), 0.0)
        update(d_loss)
        adv = against(d(fake), 1.0)
    else:
        d_loss = R.low_energy(d(real)) + 0.5 * R.high_energy(d(bad), margin) + 0.5 * R.high_energy(d(detached), margin)
        update(d_loss)
        adv = R.low_energy(d(fake))
    return dict(d_loss=d_loss, recon=rec, adv=adv, loss=rec + weight * adv)
