//! Which pictures are the same: by the contents of their files, wherever these lie and whatever they are called.

use super::image::Source;
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::hash::Hash;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

/// The first 64 bits of the SHA-256 of a file. Two pictures share them by accident alone, and then a warning is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(u64);

impl Digest {
    /// Of a whole SHA-256.
    pub fn of_sha256(sha256: &[u8; 32]) -> Self {
        Digest(u64::from_be_bytes(std::array::from_fn(|i| sha256[i])))
    }

    /// Of a file's bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::of_sha256(&Sha256::digest(bytes).into())
    }

    /// Of a file that may be too large to be held.
    pub fn of_file(path: &Path) -> std::io::Result<Self> {
        let (mut file, mut sha256, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 1 << 16]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(Self::of_sha256(&sha256.finalize().into())),
                count => sha256.update(&buffer[..count]),
            }
        }
    }
}

/// 16 hex digits.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A set of digests. As text the 16 hex digits of each, ascending, one behind the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digests(Vec<Digest>);

impl Digests {
    pub fn contains(&self, digest: Digest) -> bool {
        self.0.binary_search(&digest).is_ok()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Digest> for Digests {
    fn from_iter<I: IntoIterator<Item = Digest>>(digests: I) -> Self {
        let mut all: Vec<Digest> = digests.into_iter().collect();
        all.sort_unstable();
        all.dedup();
        Digests(all)
    }
}

impl fmt::Display for Digests {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.iter().try_for_each(|d| d.fmt(f))
    }
}

impl FromStr for Digests {
    /// What is wrong is of no use to anybody.
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (digests, []) = text.as_bytes().as_chunks::<16>() else { return Err(()) };
        let one = |hex: &[u8; 16]| {
            let hex = str::from_utf8(hex).ok().filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))?;
            u64::from_str_radix(hex, 16).ok().map(Digest)
        };
        digests.iter().map(one).collect::<Option<_>>().ok_or(())
    }
}

/// The positions of equal keys, a group for each key, ascending, in the order in which the first of each come.
pub fn groups<K: Eq + Hash>(keys: impl IntoIterator<Item = K>) -> Vec<Vec<usize>> {
    let mut places = HashMap::new();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (position, key) in keys.into_iter().enumerate() {
        let group = *places.entry(key).or_insert(groups.len());
        if group == groups.len() {
            groups.push(vec![]);
        }
        groups[group].push(position);
    }
    groups
}

/// The positions of equal pictures, as [`groups`] has them. Only those are read whose files are as long as another's; one that cannot
/// be read is equal to none, and whoever uses it will say so.
pub fn equal<'a>(pictures: impl IntoIterator<Item = &'a Source>) -> Vec<Vec<usize>> {
    let pictures: Vec<&Source> = pictures.into_iter().collect();
    let mut keys: Vec<Result<Digest, usize>> = (0..pictures.len()).map(Err).collect();
    let sizes = groups(pictures.iter().map(|p| p.size().ok()));
    let doubtful: Vec<usize> = sizes.into_iter().filter(|group| group.len() > 1).flatten().collect();
    let digest = |&i: &usize| Some((i, Digest::of(&pictures[i].bytes().ok()?)));
    let digests: Vec<(usize, Digest)> = doubtful.par_iter().filter_map(digest).collect();
    digests.into_iter().for_each(|(i, digest)| keys[i] = Ok(digest));
    groups(keys)
}

/// All positions below `count`, in groups as [`groups`] has them: two are together where any of `all` has both.
pub fn joined(count: usize, all: impl IntoIterator<Item = Vec<usize>>) -> Vec<Vec<usize>> {
    /// The first of the group that `i` is in so far.
    fn first(of: &mut [usize], mut i: usize) -> usize {
        while of[i] != i {
            of[i] = of[of[i]];
            i = of[i];
        }
        i
    }
    let mut of = Vec::from_iter(0..count);
    for group in all {
        for pair in group.windows(2) {
            let (a, b) = (first(&mut of, pair[0]), first(&mut of, pair[1]));
            of[a.max(b)] = a.min(b);
        }
    }
    groups((0..count).map(|i| first(&mut of, i)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_keys_share_a_group() {
        assert_eq!(groups("banana".chars()), [vec![0], vec![1, 3, 5], vec![2, 4]]);
        assert!(groups([0u8; 0]).is_empty());
    }

    #[test]
    fn groups_that_share_a_member_are_joined() {
        let all = [vec![4, 5], vec![0, 6], vec![3], vec![5, 6]];
        assert_eq!(joined(7, all), [vec![0, 4, 5, 6], vec![1], vec![2], vec![3]]);
        assert_eq!(joined(2, []), [vec![0], vec![1]]);
    }

    #[test]
    fn pictures_are_equal_by_their_bytes() {
        let of = |bytes: &[u8]| Source::Bytes { name: "picture".into(), bytes: bytes.into() };
        let gone = || Source::Path("/nowhere/picture.png".into());
        let all = [of(b"ab"), of(b"ba"), gone(), of(b"ab"), of(b"abc"), gone()];
        assert_eq!(equal(&all), [vec![0, 3], vec![1], vec![2], vec![4], vec![5]]);
    }

    #[test]
    fn as_sha256sum_prints_them() {
        // `printf abc | sha256sum` and `sha256sum < /dev/null`.
        let all: Digests = [Digest::of(b""), Digest::of(b"abc"), Digest::of(b"")].into_iter().collect();
        assert_eq!(all.to_string(), "ba7816bf8f01cfeae3b0c44298fc1c14");
        assert_eq!(all.to_string().parse(), Ok(all.clone()));
        assert!(all.contains(Digest::of(b"abc")) && !all.contains(Digest::of(b"abd")));
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("abc"), "abc").unwrap();
        assert_eq!(Digest::of_file(&dir.path().join("abc")).unwrap(), Digest::of(b"abc"));
        assert_eq!("".parse(), Ok(Digests::default()));
        for wrong in ["ba7816bf8f01cfe", "ba7816bf8f01cfeg", "+a7816bf8f01cfea", "ba7816bf8f01cfea0"] {
            assert_eq!(wrong.parse::<Digests>(), Err(()), "{wrong}");
        }
    }
}
