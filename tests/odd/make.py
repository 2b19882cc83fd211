"""Writes the odd pictures beside this file that no other program had to hand, and `expected.json`: what Pillow makes of all
of them (`convert("RGB")`, with the camera's orientation applied): width, height, mean, and the head of the bytes' SHA-256.

    python3 tests/odd/make.py        (Pillow 13)
"""
import hashlib, io, json, pathlib, struct
import numpy as np
from PIL import Image, ImageOps

here = pathlib.Path(__file__).parent
rng = np.random.default_rng(0)
W, H = 37, 29
ramp = (np.add.outer(np.arange(H) * 5, np.arange(W) * 3) % 256).astype(np.uint8)
rgb = np.stack([ramp, 255 - ramp, ramp[::-1]], 2)


def tiff(name, data, bits, photometric, samples=1, sample_format=1, planar=1, big=False, order="<", color_map=None):
    """An uncompressed TIFF (6.0) or BigTIFF of one strip a plane."""
    tags = [(256, 4, [W]), (257, 4, [H]), (258, 3, [bits] * samples), (259, 3, [1]), (262, 3, [photometric])]
    planes = samples if planar == 2 else 1
    each = len(data) // planes
    head = 16 if big else 8
    tags += [(273, 4, [head + i * each for i in range(planes)]), (277, 3, [samples]), (278, 4, [H])]
    tags += [(279, 4, [each] * planes), (284, 3, [planar])]
    if color_map is not None:
        tags.append((320, 3, color_map))
    if sample_format != 1:
        tags.append((339, 3, [sample_format] * samples))
    size = {3: 2, 4: 4}
    inline, word = (8, "Q") if big else (4, "I")
    start = head + len(data)
    count, entry = (8, 20) if big else (2, 12)
    extra_at = start + count + entry * len(tags) + inline
    entries, extra = b"", b""
    for tag, kind, values in tags:
        raw = struct.pack(order + {3: "H", 4: "I"}[kind] * len(values), *values)
        if len(raw) > inline:
            field = struct.pack(order + word, extra_at + len(extra))
            extra += raw
        else:
            field = raw.ljust(inline, b"\0")
        entries += struct.pack(order + "HH" + word, tag, kind, len(values)) + field
    mark = b"II" if order == "<" else b"MM"
    magic = struct.pack(order + "HHHQ", 43, 8, 0, start) if big else struct.pack(order + "HI", 42, start)
    directory = struct.pack(order + ("Q" if big else "H"), len(tags)) + entries + struct.pack(order + word, 0)
    (here / name).write_bytes(mark + magic + data + directory + extra)


def packed(values, bits):
    rows = []
    for row in values:
        text = "".join(f"{v:0{bits}b}" for v in row)
        text += "0" * (-len(text) % 8)
        rows.append(int(text, 2).to_bytes(len(text) // 8, "big"))
    return b"".join(rows)


colors = rng.integers(0, 256, (256, 3))
full = [int(v) * 257 for v in colors.T.ravel()]
for bits in (1, 2, 4, 8):
    values = ramp >> (8 - bits)
    tiff(f"gray{bits}.tif", packed(values, bits), bits, 1)
    tiff(f"gray{bits}_white_is_zero.tif", packed(values, bits), bits, 0)
few = [int(v) * 257 for v in colors[:16].T.ravel()]
tiff("palette4.tif", packed(ramp >> 4, 4), 4, 3, color_map=few)
tiff("palette_big_endian.tif", ramp.tobytes(), 8, 3, color_map=full, order=">")
tiff("palette_bigtiff.tif", ramp.tobytes(), 8, 3, color_map=full, big=True)
tiff("planar.tif", rgb.transpose(2, 0, 1).tobytes(), 8, 2, samples=3, planar=2)
tiff("signed8.tif", (ramp.astype(np.int16) - 128).astype(np.int8).tobytes(), 8, 1, sample_format=2)
tiff("signed16.tif", (ramp.astype(np.int16) * 2 - 100).tobytes(), 16, 1, sample_format=2)
tiff("signed32.tif", (ramp.astype(np.int32) * 2 - 100).tobytes(), 32, 1, sample_format=2)
wide = Image.fromarray(rgb).resize((96, 64))
wide.save(here / "ycbcr.tif", compression="jpeg", quality=95)
for name, compression in (("lzw.tif", "tiff_lzw"), ("deflate.tif", "tiff_adobe_deflate"), ("packbits.tif", "packbits")):
    wide.save(here / name, compression=compression)
Image.fromarray(rgb).convert("P").save(here / "rgb.gif")
wide.convert("CMYK").save(here / "cmyk.jpg", quality=95)
wide.convert("CMYK").save(here / "cmyk_lzw.tif", compression="tiff_lzw")

# JPEGs that libjpeg warns of. Bytes between two markers harm nothing; a hole in the data does.
out = io.BytesIO()
wide.resize((320, 240)).save(out, "JPEG", quality=90)
whole = out.getvalue()
scan = whole.index(b"\xff\xda")
(here / "extraneous.jpg").write_bytes(whole[:scan] + b"\0" * 7 + whole[scan:])
middle = scan + (len(whole) - scan) // 2
(here / "hole.jpg").write_bytes(whole[:middle] + b"\0" * 200 + whole[middle + 200:])

# Masks of one square, each in a way of its own.
square = np.zeros((H, W), np.uint8)
square[5:15, 8:20] = 1
Image.fromarray(square.astype(np.uint16) * 255).save(here / "mask_16bit_255.png")
Image.fromarray(np.dstack([square * 0, square * 0, square * 0, square * 255])).save(here / "mask_alpha_of_black.png")
Image.fromarray(np.dstack([square * 0 + 255] * 3 + [square * 255])).save(here / "mask_alpha_of_white.png")
Image.fromarray(np.dstack([square * 0, square * 0, square * 200, square * 0 + 255])).save(here / "mask_blue_opaque.png")
p = Image.frombytes("P", (W, H), square.tobytes())
p.putpalette([0] * 768)
p.save(here / "mask_black_palette.png")
Image.fromarray(square * 255).save(here / "mask.jpg", quality=75)
Image.fromarray(square * 255).save(here / "mask_255.png")

expected = {}
for path in sorted(here.iterdir()):
    if path.suffix in (".py", ".json") or path.name == "hole.jpg":
        continue
    picture = Image.open(path)
    exif = picture.getexif()
    picture = ImageOps.exif_transpose(picture.convert("RGB")) if exif.get(0x112, 1) == 1 else ImageOps.exif_transpose(picture).convert("RGB")
    data = np.asarray(picture)
    head = hashlib.sha256(data.tobytes()).hexdigest()[:16]
    expected[path.name] = [picture.width, picture.height, round(float(data.mean()), 4), head]
(here / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
