//! What kind of error a front end gets for what went wrong.

use ckaad::data::image::Picture;
use ckaad::detector::Method;
use ckaad::detector::file::ModelFile;
use ckaad::detector::options::Options;
use ckaad::engine::device::cuda::{CudaSession, SimDriver, card};
use ckaad::engine::ops::Activation;
use ckaad::engine::tape::Tape;
use ckaad::engine::tensor::{DType, Shape};
use ckaad::engine::toolkit::cuda::Number;
use ckaad::error::Kind;
use ckaad::model::Architecture;
use ckaad::weights::Archive;

#[track_caller]
fn is<T>(result: ckaad::Result<T>, kind: Kind) {
    match result {
        Ok(_) => panic!("no error"),
        Err(e) => assert_eq!(e.kind(), kind, "{e}"),
    }
}

#[test]
fn a_file_that_is_not_there_or_not_what_it_should_be() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.safetensors");
    is(Archive::open(&path), Kind::Io);
    is(Picture::read(&path), Kind::Io);
    std::fs::write(&path, "nothing of the kind").unwrap();
    is(Archive::open(&path), Kind::Data);
    is(ModelFile::open(&path), Kind::Data);
    is(Picture::read(&path), Kind::Data);
}

#[test]
fn wrong_use() {
    is(Architecture::new("resnet19", &[2, 3], 256), Kind::Usage);
    is(Architecture::new("resnet18", &[2, 3], 250), Kind::Usage);
    is(Method::find("yolo"), Kind::Usage);
    is(Options::new(ckaad::detector::ckaad::METHOD.options).with("gamma", "2"), Kind::Usage);
}

#[test]
fn a_device_without_room_or_that_is_not_there() {
    let mut tape = Tape::new(DType::F32);
    let x = tape.input(Shape([1, 64, 64, 64]), DType::F32).unwrap();
    let y = tape.activate(x, Activation::Relu).unwrap();
    tape.output(y);
    let small = SimDriver::new(100_000, SimDriver::MULTIPROCESSORS, SimDriver::CHIP);
    is(CudaSession::new(tape, Box::new(small), Number::F32), Kind::Device);
    is(card::usable(99), Kind::Device);
}
