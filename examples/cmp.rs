use std::io::Write;
use std::time::Instant;
fn main() {
    let mut out = std::io::BufWriter::new(std::fs::File::create("/tmp/cmp/ours.bin").unwrap());
    let (mut td, mut tr, mut n) = (0.0, 0.0, 0);
    for l in std::io::stdin().lines() {
        let l = l.unwrap();
        let t = Instant::now();
        let p = ckaad::data::image::Picture::read(std::path::Path::new(&l)).unwrap();
        td += t.elapsed().as_secs_f64();
        let t = Instant::now();
        let r = p.resized(256);
        tr += t.elapsed().as_secs_f64();
        n += 1;
        out.write_all(&r).unwrap();
    }
    println!("decode {:.3} ms resize {:.3} ms each", td / n as f64 * 1e3, tr / n as f64 * 1e3);
    let src: Vec<u8> = (0..512 * 512 * 3).map(|i| (i * 7919 >> 5) as u8).collect();
    let src2: Vec<u8> = (0..1024 * 1024 * 3).map(|i| (i * 7919 >> 5) as u8).collect();
    for _ in 0..3 {
        let t = Instant::now();
        for _ in 0..50 {
            std::hint::black_box(ckaad::data::resize::bilinear::<3>(&src, (512, 512), (256, 256)));
        }
        print!("512->256 {:?} ", t.elapsed() / 50);
        let t = Instant::now();
        for _ in 0..20 {
            std::hint::black_box(ckaad::data::resize::bilinear::<3>(&src2, (1024, 1024), (256, 256)));
        }
        print!("1024->256 {:?} ", t.elapsed() / 20);
        let s = &src[..256 * 256 * 3];
        let mut o = vec![0; s.len()];
        let t = Instant::now();
        for i in 0..20 {
            ckaad::data::elastic::elastic(s, 256, 200.0, 5.0, i, &mut o);
        }
        println!("elastic 256 {:?}", t.elapsed() / 20);
    }
}
