//! How long a kernel takes on a GPU by itself: launches in a row, between two events, on a card that is warm.

use super::api::{self, got};
use super::gpu::GpuDriver;
use crate::Result;
use cudarc::driver::sys;
use std::time::{Duration, Instant};

/// Seconds that a row of launches should take, so that the submission of its graph and what an event resolves do not count.
const ROW: f64 = 2e-3;
/// Launches in a row at most: those of a kernel that takes 2 us, which is less than any.
const MOST: usize = 1000;
/// A card that had nothing to do raises its clocks again within this time.
const WARM_UP: Duration = Duration::from_millis(500);
/// It lowers them no sooner.
const STAYS_WARM: Duration = Duration::from_millis(200);

/// A graph of launches in a row.
struct Row {
    graph: api::CUgraphExec,
    launches: usize,
}

impl Drop for Row {
    fn drop(&mut self) {
        // SAFETY: made for this row alone; what ran of it was waited for. The context is current in the thread that measures.
        let _ = unsafe { api::cuGraphExecDestroy(self.graph) };
    }
}

/// Two events of the driver's.
struct Clock([api::CUevent; 2]);

impl Drop for Clock {
    fn drop(&mut self) {
        for event in self.0 {
            // SAFETY: made for this clock alone, and nothing waits for it any more.
            let _ = unsafe { api::cuEventDestroy_v2(event) };
        }
    }
}

/// What submits once what is timed.
type Submit<'a> = &'a mut dyn FnMut(&mut GpuDriver) -> Result<()>;

impl GpuDriver {
    /// Seconds that what `submit` submits takes, so many times. The work before must be done.
    pub(super) fn seconds(&mut self, submit: Submit, repetitions: usize) -> Result<Vec<f64>> {
        let clock = Clock(self.events(sys::CUevent_flags::CU_EVENT_DEFAULT)?);
        let mut row = self.row(submit, 1)?;
        loop {
            let one = self.time(&row, &clock)?;
            if row.launches == MOST || one * row.launches as f64 >= ROW {
                break;
            }
            let enough = (ROW / one.max(ROW / MOST as f64)).ceil() as usize;
            row = self.row(submit, enough.clamp(row.launches + 1, MOST))?;
        }
        if self.card.last_timed().is_none_or(|last| last.elapsed() > STAYS_WARM) {
            let begun = Instant::now();
            while begun.elapsed() < WARM_UP {
                self.time(&row, &clock)?;
            }
        }
        let times = (0..repetitions).map(|_| self.time(&row, &clock)).collect();
        self.card.timed_now();
        times
    }

    fn row(&mut self, submit: Submit, launches: usize) -> Result<Row> {
        self.start_capture()?;
        let submitted = (0..launches).try_for_each(|_| submit(self));
        let graph = self.finish_capture().map(|graph| Row { graph, launches });
        // A launch that failed may have spoilt the capture: its own error says more.
        submitted?;
        graph
    }

    /// Seconds of one launch of a row.
    fn time(&self, row: &Row, Clock([start, end]): &Clock) -> Result<f64> {
        // SAFETY: events and stream are ours.
        unsafe { api::cuEventRecord(*start, self.stream) }.map_err(|e| self.failed("recording an event", e))?;
        self.run_graph(row.graph)?;
        // SAFETY: as above; both events were recorded.
        let milliseconds = unsafe {
            api::cuEventRecord(*end, self.stream)
                .and_then(|()| api::cuEventSynchronize(*end))
                .and_then(|()| got(0.0, |ms| api::cuEventElapsedTime(ms, *start, *end)))
        }
        .map_err(|e| self.late("timing a kernel", e))?;
        Ok(f64::from(milliseconds) / 1e3 / row.launches as f64)
    }
}
