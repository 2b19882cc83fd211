//! The device: modules, streams and events, graphs, what it counts, what it refuses.

mod common;

use common::{bytes, kernel, kernel_with};
use ptxsim::{
    Counters, Device, DeviceError, Event, FaultKind, HostBuffer, KernelLaunch, MemoryError, ModuleId, Options, Stream,
    Work,
};

const WORDS: u64 = 64;
const BYTES: usize = WORDS as usize * 4;

/// A device with a kernel `out[i] = 3 * in[i] + 1`, two buffers and a host buffer.
struct Setup {
    device: Device,
    module: ModuleId,
    a: u64,
    b: u64,
    host: HostBuffer,
}

fn step() -> String {
    kernel(
        "mul.wide.u32 %rd3, %r2, 4; add.u64 %rd4, %rd2, %rd3; add.u64 %rd5, %rd1, %rd3;\n\
         ld.global.u32 %r4, [%rd4]; mad.lo.u32 %r5, %r4, 3, 1; st.global.u32 [%rd5], %r5;",
    )
}

impl Setup {
    fn new() -> Setup {
        let mut device = Device::with_options(1 << 20, Options { threads: 1, ..Options::default() });
        let module = device.load("step.ptx", &step()).unwrap();
        let (a, b) = (device.alloc(BYTES as u64).unwrap(), device.alloc(BYTES as u64).unwrap());
        let host = device.alloc_host(BYTES);
        Setup { device, module, a, b, host }
    }

    fn launch(&self, out: u64, input: u64) -> Work {
        Work::Launch(self.kernel(out, input))
    }

    fn kernel(&self, out: u64, input: u64) -> KernelLaunch {
        KernelLaunch {
            module: self.module,
            entry: "k".into(),
            grid: [2, 1, 1],
            block: [WORDS as u32 / 2, 1, 1],
            dynamic_shared: 0,
            params: [out, input].iter().flat_map(|a| a.to_le_bytes()).collect(),
            buffers: None,
        }
    }

    fn upload(&self, to: u64) -> Work {
        Work::Upload { host: self.host, bytes: 0..BYTES, to }
    }

    fn download(&self, from: u64) -> Work {
        Work::Download { from, host: self.host, bytes: 0..BYTES }
    }

    fn fill(&mut self, values: impl Fn(u32) -> u32) {
        let values: Vec<u32> = (0..WORDS as u32).map(values).collect();
        self.device.host_mut(self.host).unwrap().copy_from_slice(&bytes(&values));
    }

    fn first(&self) -> u32 {
        let host = self.device.host(self.host).unwrap();
        u32::from_le_bytes(host[..4].try_into().unwrap())
    }

    /// A range is first uploaded, then worked on.
    fn program(&self) -> Vec<Work> {
        let (a, b, len) = (self.a, self.b, BYTES as u64);
        vec![
            self.upload(a),
            Work::Forget(b..b + len),
            self.launch(b, a),
            self.launch(a, b),
            Work::Copy { from: a..a + len / 2, to: b },
            Work::Zero(a..a + 8),
            Work::Copy { from: a..a + 16, to: b + 16 },
            self.download(b),
        ]
    }
}

fn fault(error: DeviceError) -> FaultKind {
    match error {
        DeviceError::Fault(fault) => fault.kind,
        other => panic!("{other}"),
    }
}

#[test]
fn work_is_done_in_order_when_something_waits() {
    let mut s = Setup::new();
    let stream = s.device.stream();
    s.fill(|i| i);
    for work in [s.upload(s.a), s.launch(s.b, s.a), s.download(s.b)] {
        s.device.submit(stream, work).unwrap();
    }
    assert_eq!(s.device.memory().unwritten(s.a..s.a + 1), Some(s.a), "nothing waited");
    // The upload takes what is in the buffer when it is done.
    s.fill(|i| i + 100);
    let end = s.device.record(stream).unwrap();
    assert!(!s.device.reached(end).unwrap());
    s.device.synchronize(stream).unwrap();
    assert!(s.device.reached(end).unwrap());
    assert_eq!(s.first(), 301);
    s.device.synchronize(stream).unwrap();
    assert_eq!(s.first(), 301, "nothing is done twice");
}

#[test]
fn events_order_streams_and_nothing_else_does() {
    let mut s = Setup::new();
    let [one, two] = [s.device.stream(), s.device.stream()];
    s.fill(|_| 1);
    s.device.submit(one, s.upload(s.a)).unwrap();
    s.device.submit(one, s.launch(s.b, s.a)).unwrap();
    let ready = s.device.record(one).unwrap();
    s.device.submit(one, s.launch(s.a, s.b)).unwrap();
    s.device.wait(two, ready).unwrap();
    s.device.submit(two, s.download(s.b)).unwrap();

    s.device.synchronize(two).unwrap();
    assert_eq!(s.first(), 4);
    // What stands behind the event was not waited for.
    let mut word = [0; 4];
    s.device.read(s.a, &mut word).unwrap();
    assert_eq!(word, [1, 0, 0, 0]);
    s.device.synchronize_all().unwrap();
    s.device.read(s.a, &mut word).unwrap();
    assert_eq!(word, [13, 0, 0, 0]);

    // Without the event the other stream's work is not there.
    let mut s = Setup::new();
    let [one, two] = [s.device.stream(), s.device.stream()];
    s.device.submit(one, s.upload(s.a)).unwrap();
    s.device.submit(two, s.download(s.a)).unwrap();
    let error = s.device.synchronize(two).unwrap_err();
    assert_eq!(error, DeviceError::UnwrittenDownload { at: s.a });
}

#[test]
fn an_event_is_the_point_where_it_was_recorded() {
    let mut s = Setup::new();
    let stream = s.device.stream();
    let before: Event = s.device.record(stream).unwrap();
    assert!(s.device.reached(before).unwrap(), "nothing comes before it");
    s.device.submit(stream, Work::Zero(s.a..s.a + 4)).unwrap();
    let middle = s.device.record(stream).unwrap();
    s.device.submit(stream, Work::Zero(s.b..s.b + 4)).unwrap();
    s.device.synchronize_event(middle).unwrap();
    let unwritten = |s: &Setup, at: u64| s.device.memory().unwritten(at..at + 4).is_some();
    assert!(!unwritten(&s, s.a) && unwritten(&s, s.b));
    // A stream that waits for itself has nothing to wait for.
    s.device.wait(stream, middle).unwrap();
    let end = s.device.record(stream).unwrap();
    s.device.wait(stream, end).unwrap();
    s.device.synchronize(stream).unwrap();
    assert!(!unwritten(&s, s.b));
}

/// Two streams in turn, each behind the other: far more waits than a stack of calls would hold.
#[test]
fn long_chains_of_waits() {
    let mut s = Setup::new();
    let streams = [s.device.stream(), s.device.stream()];
    s.fill(|_| 0);
    s.device.submit(streams[0], s.upload(s.a)).unwrap();
    for i in 0..200_000 {
        let event = s.device.record(streams[i % 2]).unwrap();
        s.device.wait(streams[(i + 1) % 2], event).unwrap();
        s.device.submit(streams[(i + 1) % 2], Work::Zero(s.a..s.a + 4)).unwrap();
    }
    s.device.submit(streams[0], s.launch(s.b, s.a)).unwrap();
    s.device.submit(streams[0], s.download(s.b)).unwrap();
    s.device.synchronize(streams[0]).unwrap();
    assert_eq!(s.first(), 1);
}

/// Whoever chooses the order among streams gets the same bytes, if events order what must be.
#[test]
fn any_order_among_streams() {
    for order in [[0, 1], [1, 0]] {
        let mut s = Setup::new();
        let streams = [s.device.stream(), s.device.stream()];
        s.fill(|i| i);
        s.device.submit(streams[0], s.upload(s.a)).unwrap();
        s.device.submit(streams[0], s.launch(s.b, s.a)).unwrap();
        let event = s.device.record(streams[0]).unwrap();
        s.device.wait(streams[1], event).unwrap();
        s.device.submit(streams[1], s.launch(s.a, s.b)).unwrap();
        s.device.submit(streams[1], s.download(s.a)).unwrap();
        assert!(!s.device.advance(streams[1]).unwrap(), "its event is not reached");
        let mut idle = false;
        while !idle {
            idle = true;
            for i in order {
                idle &= !s.device.advance(streams[i]).unwrap();
            }
        }
        assert_eq!(s.first(), 4);
    }
}

fn result(device: &Device, at: u64) -> Vec<u8> {
    let mut bytes = vec![0; BYTES];
    device.read(at, &mut bytes).unwrap();
    bytes
}

#[test]
fn a_replay_gives_the_bytes_of_its_work() {
    let mut direct = Setup::new();
    let stream = direct.device.stream();
    let mut captured = Setup::new();
    let other = captured.device.stream();

    captured.device.begin_capture(other).unwrap();
    assert!(captured.device.is_capturing(other));
    for work in captured.program() {
        captured.device.submit(other, work).unwrap();
    }
    let graph = captured.device.end_capture(other).unwrap();
    assert!(!captured.device.is_capturing(other));
    assert_eq!(graph.nodes().len(), captured.program().len());
    captured.device.synchronize(other).unwrap();
    assert_eq!(captured.device.memory().unwritten(captured.a..captured.a + 1), Some(captured.a), "it was only noted");

    for round in 0..3 {
        direct.fill(|i| i * 7 + round);
        captured.fill(|i| i * 7 + round);
        for work in direct.program() {
            direct.device.submit(stream, work).unwrap();
        }
        direct.device.synchronize(stream).unwrap();
        captured.device.replay(&graph, other).unwrap();
        captured.device.synchronize(other).unwrap();
        let host = |s: &Setup| s.device.host(s.host).unwrap().to_vec();
        assert_eq!(host(&direct), host(&captured));
        for (d, c) in [(direct.a, captured.a), (direct.b, captured.b)] {
            assert_eq!(result(&direct.device, d), result(&captured.device, c));
        }
    }
    assert_eq!(direct.device.counters(), captured.device.counters());

    // A graph replayed into a capture becomes part of it.
    captured.device.begin_capture(other).unwrap();
    captured.device.replay(&graph, other).unwrap();
    captured.device.replay(&graph, other).unwrap();
    let twice = captured.device.end_capture(other).unwrap();
    assert_eq!(twice.nodes().len(), 2 * graph.nodes().len());
}

#[test]
fn what_a_captured_stream_does_not_take() {
    let mut s = Setup::new();
    let [stream, other] = [s.device.stream(), s.device.stream()];
    let event = s.device.record(other).unwrap();
    assert_eq!(s.device.end_capture(stream).unwrap_err(), DeviceError::NotCapturing);
    // What was queued before the capture is done all the same.
    s.device.submit(stream, Work::Zero(s.a..s.a + 4)).unwrap();
    let before = s.device.record(stream).unwrap();
    s.device.begin_capture(stream).unwrap();
    assert_eq!(s.device.begin_capture(stream).unwrap_err(), DeviceError::Capturing);
    assert_eq!(s.device.record(stream).unwrap_err(), DeviceError::Capturing);
    assert_eq!(s.device.wait(stream, event).unwrap_err(), DeviceError::Capturing);
    assert_eq!(s.device.synchronize(stream).unwrap_err(), DeviceError::Capturing);
    s.device.synchronize_event(before).unwrap();
    assert_eq!(s.device.memory().unwritten(s.a..s.a + 4), None);
    s.device.synchronize_all().unwrap();
    assert_eq!(s.device.end_capture(stream).unwrap().nodes().len(), 0);
}

#[test]
fn bytes_that_nobody_wrote() {
    let mut s = Setup::new();
    let (a, b) = (s.a, s.b);
    let stream = s.device.stream();
    s.device.write(a, &[1; 100]).unwrap();
    let mut back = [0; 120];
    s.device.read(a, &mut back[..100]).unwrap();
    let error = s.device.read(a + 4, &mut back).unwrap_err();
    assert_eq!(error.to_string(), "byte 96 of 120 that are read back was never written");
    let error = s.device.copy(a + 90..a + 101, b).unwrap_err();
    assert_eq!(error, DeviceError::UnwrittenCopy { at: a + 100, to: b });
    assert!(error.to_string().contains("never written"));

    s.device.submit(stream, s.download(a)).unwrap();
    let error = s.device.synchronize(stream).unwrap_err();
    assert_eq!(error.to_string(), format!("the byte at {:#x} is copied to the host and was never written", a + 100));
    assert_eq!(s.first(), 0, "nothing was copied");

    s.device.zero(a..a + 256).unwrap();
    s.device.submit(stream, s.download(a)).unwrap();
    s.device.synchronize(stream).unwrap();
    s.device.forget(a + 8..a + 9).unwrap();
    s.device.submit(stream, s.launch(b, a)).unwrap();
    assert_eq!(fault(s.device.synchronize(stream).unwrap_err()), FaultKind::Uninitialised);
}

#[test]
fn an_error_ends_what_is_queued_and_not_the_device() {
    let mut s = Setup::new();
    let [one, two] = [s.device.stream(), s.device.stream()];
    // Reads what nobody wrote.
    s.device.submit(one, s.launch(s.b, s.a)).unwrap();
    let event = s.device.record(one).unwrap();
    s.device.wait(two, event).unwrap();
    s.device.submit(two, Work::Zero(s.b..s.b + 4)).unwrap();
    assert_eq!(fault(s.device.synchronize(two).unwrap_err()), FaultKind::Uninitialised);
    assert!(s.device.reached(event).unwrap());
    s.device.synchronize_all().unwrap();
    assert_eq!(s.device.memory().unwritten(s.b..s.b + 4), Some(s.b), "what came behind was dropped");

    s.fill(|_| 2);
    for work in [s.upload(s.a), s.launch(s.b, s.a), s.download(s.b)] {
        s.device.submit(two, work).unwrap();
    }
    s.device.synchronize(two).unwrap();
    assert_eq!(s.first(), 7);
}

#[test]
fn modules_are_parsed_once_and_keep_their_variables_apart() {
    let text = kernel_with(
        ".global .u32 counter = 5;",
        "",
        "atom.global.add.u32 %r4, [counter], 1; st.global.u32 [%rd1], %r4;",
    );
    let count = |device: &mut Device, module: ModuleId, out: u64| -> u32 {
        let params = [out, out].iter().flat_map(|a| a.to_le_bytes()).collect();
        let (entry, dynamic_shared) = ("k".into(), 0);
        let kernel = KernelLaunch { module, entry, grid: [1; 3], block: [1; 3], dynamic_shared, params, buffers: None };
        device.run(&kernel).unwrap();
        let mut word = [0; 4];
        device.read(out, &mut word).unwrap();
        u32::from_le_bytes(word)
    };
    let mut devices = [Device::new(1 << 10), Device::new(1 << 10)];
    let modules = devices.each_mut().map(|d| d.load("counter.ptx", &text).unwrap());
    let out = devices.each_mut().map(|d| d.alloc(4).unwrap());
    assert_eq!(count(&mut devices[0], modules[0], out[0]), 5);
    assert_eq!(count(&mut devices[0], modules[0], out[0]), 6);
    assert_eq!(count(&mut devices[1], modules[1], out[1]), 5);
    let again = devices[0].load("counter.ptx", &text).unwrap();
    assert_eq!(count(&mut devices[0], again, out[0]), 5);

    // The same in memory, not merely equal.
    let kernels = |d: &Device, m: ModuleId| std::ptr::from_ref(d.module(m).unwrap().kernels());
    assert_eq!(kernels(&devices[0], modules[0]), kernels(&devices[1], modules[1]));
    let renamed = devices[0].load("other.ptx", &text).unwrap();
    assert_eq!(devices[0].module(renamed).unwrap().name(), "other.ptx");
    assert_ne!(kernels(&devices[0], modules[0]), kernels(&devices[0], renamed));

    for _ in 0..2 {
        let error = devices[0].load("counter.ptx", &text[..text.len() / 2]).unwrap_err().to_string();
        assert!(error.starts_with("counter.ptx:"), "{error}");
    }
}

#[test]
fn launches_are_counted_one_by_one_and_together() {
    let mut s = Setup::new();
    let stream = s.device.stream();
    s.device.zero(s.a..s.a + BYTES as u64).unwrap();
    let alone = s.device.run(&s.kernel(s.b, s.a)).unwrap();
    assert_eq!(s.device.counters(), &alone);
    assert_eq!(alone.branches, 0);
    assert!(s.device.take_launches().is_empty(), "nobody asked");

    s.device.keep_launches(true);
    s.device.submit(stream, s.launch(s.b, s.a)).unwrap();
    s.device.synchronize(stream).unwrap();
    s.device.run(&s.kernel(s.b, s.a)).unwrap();
    let kept = s.device.take_launches();
    assert_eq!(kept.iter().map(|l| l.stream).collect::<Vec<Option<Stream>>>(), [Some(stream), None]);
    assert!(kept.iter().all(|l| l.entry == "k" && l.counters == alone));
    assert!(s.device.take_launches().is_empty(), "they were taken");
    let mut three = Counters::default();
    (0..3).for_each(|_| three.add(&alone));
    assert_eq!(s.device.counters(), &three);

    s.device.run(&s.kernel(s.b, s.a)).unwrap();
    s.device.keep_launches(true);
    assert_eq!(s.device.take_launches().len(), 1, "asking again loses nothing");
    s.device.keep_launches(false);
    s.device.run(&s.kernel(s.b, s.a)).unwrap();
    assert!(s.device.take_launches().is_empty());
}

#[test]
fn memory_and_handles_that_are_not_there() {
    let mut s = Setup::new();
    let (mut other, bytes) = (Device::new(1 << 10), BYTES);
    let [_, stream] = [other.stream(), other.stream()];
    for _ in 0..2 {
        other.alloc_host(8);
    }
    let host = other.alloc_host(8);
    other.load("step.ptx", &step()).unwrap();
    let module = other.load("step.ptx", &step()).unwrap();
    let mine = s.device.stream();
    other.submit(mine, Work::Zero(0..0)).unwrap();
    let event = other.record(mine).unwrap();

    let unknown = |r: Result<(), DeviceError>, what| assert_eq!(r.unwrap_err(), DeviceError::Unknown(what));
    unknown(s.device.submit(stream, Work::Zero(s.a..s.a + 4)), "stream");
    unknown(s.device.synchronize(stream), "stream");
    unknown(s.device.begin_capture(stream), "stream");
    unknown(s.device.wait(mine, event), "event");
    unknown(s.device.synchronize_event(event), "event");
    unknown(s.device.submit(mine, Work::Upload { host, bytes: 0..4, to: s.a }), "host buffer");
    unknown(s.device.submit(mine, Work::Launch(KernelLaunch { module, ..s.kernel(s.b, s.a) })), "module");
    unknown(s.device.run(&KernelLaunch { module, ..s.kernel(s.b, s.a) }).map(drop), "module");
    for range in [0..bytes + 1, bytes..bytes + 1, std::ops::Range { start: 5, end: 4 }] {
        let error = s.device.submit(mine, Work::Download { from: s.a, host: s.host, bytes: range }).unwrap_err();
        assert!(matches!(error, DeviceError::HostRange { len, .. } if len == bytes), "{error}");
    }
    s.device.synchronize(mine).unwrap();

    let outside = |r: Result<(), DeviceError>| {
        let error = r.unwrap_err();
        assert!(matches!(error, DeviceError::Memory(MemoryError::NotAllocated { .. })), "{error}");
    };
    let mut some = [0; 8];
    outside(s.device.read(s.a + bytes as u64, &mut some));
    outside(s.device.read(u64::MAX - 3, &mut some));
    outside(s.device.write(8, &some));
    outside(s.device.zero(s.a..u64::MAX));
    outside(s.device.forget(0..1));
    outside(s.device.copy(s.a..s.a + 4, 0));
    s.device.free(s.a).unwrap();
    outside(s.device.free(s.a));
    for work in [s.upload(s.a), s.download(s.a), Work::Zero(s.a..s.a + 4), Work::Forget(s.a..s.a + 4)] {
        s.device.submit(mine, work).unwrap();
        outside(s.device.synchronize(mine));
    }
    let error = s.device.alloc(1 << 21).unwrap_err();
    assert!(error.to_string().starts_with("out of device memory"), "{error}");
    // The kernel's name is looked up when it runs, and the message lists those there are.
    let wrong = KernelLaunch { entry: "nothing".into(), ..s.kernel(s.b, s.a) };
    s.device.submit(mine, Work::Launch(wrong)).unwrap();
    let error = s.device.synchronize(mine).unwrap_err();
    assert!(error.to_string().contains("there are: k"), "{error}");
}
