//! What is never given back: told when a primary context is released, and at exit.

use crate::driver::Driver;
use crate::host::Kind;
use crate::report::{Call, found};
use crate::status::Result;

/// Says that something was never given back.
fn lost(what: &str, call: &Call) {
    found(&format!("never given back: {what}"), &[call]);
}

impl Driver {
    /// Says what of a context was never given back.
    fn leaks_of(&self, context: u64) {
        for (at, given) in self.given.iter().filter(|(_, given)| given.context == context && !given.leaving) {
            lost(&format!("{} bytes of device memory at {at:#x}", given.bytes), &given.call);
        }
        for (handle, stream) in self.streams.iter().filter(|(_, s)| s.context == context && !s.hidden) {
            lost(&format!("stream {handle:#x}"), &stream.call);
        }
        for (handle, event) in self.events.iter().filter(|(_, event)| event.context == context) {
            lost(&format!("event {handle:#x}"), &event.call);
        }
    }

    /// Ends a primary context that nobody holds any more: what is in it now cannot be given back later.
    pub fn released(&mut self, context: u64) -> Result {
        self.finish_context(context)?;
        if self.settings.leaks && self.contexts.get(context, self.name)?.failed.is_none() {
            self.leaks_of(context);
        }
        self.end_context(context)
    }

    /// Says what was never given back. In a context that failed nothing can be.
    pub fn leaks(&self) {
        if self.contexts.iter().any(|(_, context)| context.failed.is_some()) {
            return;
        }
        for (handle, context) in self.contexts.iter() {
            self.leaks_of(handle);
            if !context.primary {
                lost(&format!("context {handle:#x}"), &context.call);
            }
        }
        for (handle, link) in self.links.iter() {
            lost(&format!("link {handle:#x}"), &link.call);
        }
        for (at, stretch, call) in self.locked.left() {
            let kind = if stretch.kind == Kind::Managed { "managed" } else { "page-locked" };
            lost(&format!("{} bytes of {kind} memory at {at:#x}", stretch.bytes), call);
        }
        for (handle, pool) in self.pools.iter().filter(|(_, p)| !p.hidden) {
            lost(&format!("memory pool {handle:#x}"), &pool.call);
        }
        for (handle, kept) in self.graphs.iter().filter(|(_, kept)| kept.owner.is_none()) {
            lost(&format!("graph {handle:#x}"), &kept.call);
        }
        for (handle, owned) in self.objects.iter() {
            lost(&format!("user object {handle:#x}"), &owned.call);
        }
        for (handle, (_, call)) in self.executables.iter() {
            lost(&format!("executable graph {handle:#x}"), call);
        }
    }
}
