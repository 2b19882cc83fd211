//! Batches of drawn pictures, made ahead of the steps that take them by threads of their own.

use super::recipe::{Objective, Recipe};
use crate::data::formula::{Cells, Formula, Scratch};
use crate::engine::hash::fnv1a;
use crate::{Result, invalid};
use std::ops::Range;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

/// Pictures of a batch, and the classes at every position of every head.
pub struct Batch {
    pub pixels: Vec<u8>,
    pub labels: Vec<Vec<f32>>,
}

/// Batches made ahead by one thread.
const AHEAD: usize = 2;

/// Instances from here on are in no training picture.
const HELD_OUT: u64 = 1 << 40;

/// Which class an instance is of: every class as often on the average, in an order that nothing can be learned from.
fn class_of(seed: u64, instance: u64, classes: usize) -> usize {
    (fnv1a(&format!("{seed}.{instance}.class")) % classes as u64) as usize
}

/// Draws pictures of consecutive instances, with labels for maps of these sides.
pub fn draw(
    recipe: &Recipe,
    formula: &Formula,
    sides: &[usize],
    instances: Range<u64>,
    scratch: &mut Scratch,
) -> Batch {
    let (size, n) = (formula.size, (instances.end - instances.start) as usize);
    let mut pixels = vec![0; n * size * size * 3];
    let mut labels: Vec<Vec<f32>> = sides.iter().map(|side| Vec::with_capacity(n * side * side)).collect();
    for (instance, out) in instances.zip(pixels.chunks_exact_mut(size * size * 3)) {
        match recipe.objective {
            Objective::Pooled => {
                let class = class_of(recipe.seed, instance, formula.classes());
                formula.draw(class, instance, 0, out, scratch);
                labels.iter_mut().for_each(|l| l.push(class as f32));
            }
            Objective::Dense => {
                let mut found: Vec<Vec<u32>> = sides.iter().map(|side| vec![0; side * side]).collect();
                let both = sides.iter().zip(&mut found);
                let mut cells: Vec<Cells> = both.map(|(side, labels)| Cells { side: size / side, labels }).collect();
                formula.mosaic(instance, out, &mut cells, scratch);
                for (l, found) in labels.iter_mut().zip(found) {
                    l.extend(found.into_iter().map(|class| class as f32));
                }
            }
        }
    }
    Batch { pixels, labels }
}

/// Held-out pictures: so many, of instances that no step takes.
pub fn held_out(count: usize) -> Range<u64> {
    HELD_OUT..HELD_OUT + count as u64
}

/// Threads that draw the batches of steps, in turn.
pub struct Batches {
    queues: Vec<Receiver<Batch>>,
    next: usize,
}

impl Batches {
    /// From the batch of `step` on. A batch is a function of the recipe and the step's number, whatever the threads.
    pub fn start(recipe: &Recipe, sides: Vec<usize>, step: u32, threads: usize) -> Result<Self> {
        let start = |thread: usize| {
            let (send, queue) = sync_channel(AHEAD);
            let (recipe, sides) = (recipe.clone(), sides.clone());
            let drawing = thread::Builder::new().name("drawing".into()).spawn(move || {
                let (formula, mut scratch) = (recipe.formula(), Scratch::default());
                let batch = recipe.batch as u64;
                for step in (u64::from(step) + thread as u64..u64::from(recipe.steps)).step_by(threads.max(1)) {
                    let made = draw(&recipe, &formula, &sides, step * batch..(step + 1) * batch, &mut scratch);
                    if send.send(made).is_err() {
                        // Nobody takes them any more.
                        return;
                    }
                }
            });
            match drawing {
                Ok(_) => Ok(queue),
                Err(e) => invalid!("no thread to draw pictures can be had: {e}"),
            }
        };
        Ok(Batches { queues: (0..threads.max(1)).map(start).collect::<Result<_>>()?, next: 0 })
    }

    /// That of the next step.
    pub fn take(&mut self) -> Result<Batch> {
        let queue = &self.queues[self.next];
        self.next = (self.next + 1) % self.queues.len();
        match queue.recv() {
            Ok(batch) => Ok(batch),
            Err(_) => invalid!("a thread that draws pictures has stopped"),
        }
    }
}
