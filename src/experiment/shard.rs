//! Shards: the cells of a grid that one of several machines runs. They follow from the file and the datasets alone, so that machines
//! need not know of each other, nor of what there are results of.

use super::grid::{Cell, Opened};
use crate::{Error, Result};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::str::FromStr;

/// One of several, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shard {
    /// How many there are.
    pub of: usize,
    pub number: usize,
}

impl Shard {
    /// What its folder is called below that of all: each has its own, as each writes its results anew after every cell.
    pub fn folder(self) -> String {
        format!("shard-{}-of-{}", self.number, self.of)
    }

    /// Whose folder is called this.
    pub fn of_folder(name: &str) -> Option<Shard> {
        let (number, of) = name.strip_prefix("shard-")?.split_once("-of-")?;
        format!("{number}/{of}").parse().ok().filter(|shard: &Shard| shard.folder() == name)
    }
}

/// `2 of 8`
impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} of {}", self.number, self.of)
    }
}

/// `2/8`
impl FromStr for Shard {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let numbers = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        let Some((number, of)) = numbers else {
            return Err(Error::Usage("expected I/N in whole numbers, as 2/8 for the second of eight".into()));
        };
        match of {
            0 => Err(Error::Usage("there are no shards; expected I/N with N at least 1".into())),
            _ if (1..=of).contains(&number) => Ok(Shard { of, number }),
            _ => Err(Error::Usage(format!("shards are counted from 1: expected 1/{of} to {of}/{of}"))),
        }
    }
}

/// The number of the shard that runs each of a grid's cells, of so many shards.
pub fn shards(cells: &[Cell], opened: &[Opened], of: usize) -> Result<Vec<usize>> {
    let cost = |cell: &Cell| {
        let dataset = opened.iter().find(|o| o.spec.name == cell.dataset);
        let normal = dataset.map_or(0, |o| o.count_normal(&cell.categories));
        let side = cell.settings.architecture()?.image_size as u64;
        Ok(cell.pictures_in_steps(normal)?.saturating_mul(side.saturating_mul(side)))
    };
    Ok(deal(&cells.iter().map(cost).collect::<Result<Vec<u64>>>()?, of))
}

/// What costs most first, each to the shard that has least so far: in the grid's own order cells of one strategy lie as far apart as
/// there are rows, and every N-th could be of the dearest.
fn deal(costs: &[u64], of: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..costs.len()).collect();
    order.sort_by_key(|at| Reverse(costs[*at]));
    // There may be many more shards than cells, which go to the first ones then.
    let mut least: BinaryHeap<_> = (1..=of.min(costs.len())).map(|number| Reverse((0, number))).collect();
    let mut dealt = vec![0; costs.len()];
    for at in order {
        if let Some(mut least) = least.peek_mut() {
            let Reverse((load, number)) = &mut *least;
            dealt[at] = *number;
            // A cell of no cost would leave the next one to the same shard.
            *load = costs[at].max(1).saturating_add(*load);
        }
    }
    dealt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        let shard: Shard = "2/8".parse().unwrap();
        assert_eq!((shard.number, shard.of, shard.folder().as_str()), (2, 8, "shard-2-of-8"));
        assert_eq!(Shard::of_folder("shard-2-of-8"), Some(shard));
        for name in
            ["shard-0-of-8", "shard-9-of-8", "shard-02-of-8", "shard-2-of-", "shard-2", "cells", "shard-2-of-8x"]
        {
            assert_eq!(Shard::of_folder(name), None, "{name}");
        }
    }

    /// By hand: 8 | 7 | 6, then 5 beside 6, 4 beside 7, 3 beside 8; all have 11.
    #[test]
    fn the_dearest_are_spread() {
        assert_eq!(deal(&[3, 4, 5, 6, 7, 8], 3), [1, 2, 3, 3, 2, 1]);
        // Five strategies in turn, one of half the cost: every fifth cell would give one shard all of those.
        let costs: Vec<u64> = (0..30).map(|i| if i % 5 == 0 { 1 } else { 2 }).collect();
        let mut loads = [0; 5];
        deal(&costs, 5).iter().zip(&costs).for_each(|(number, cost)| loads[number - 1] += cost);
        assert!(loads.iter().all(|load| (10..=11).contains(load)), "{loads:?}");
    }

    #[test]
    fn more_shards_than_cells_and_cells_of_no_cost() {
        assert_eq!(deal(&[0, 0, 0], usize::MAX), [1, 2, 3]);
        assert_eq!(deal(&[0; 6], 3), [1, 2, 3, 1, 2, 3]);
        assert_eq!(deal(&[u64::MAX, u64::MAX, 1], 2), [1, 2, 1]);
        assert_eq!(deal(&[], 4), [0; 0]);
    }
}
