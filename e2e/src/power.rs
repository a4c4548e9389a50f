//! A power cut on the disk that `faults/disk.c` remembers: of the writes since the last successful sync of a file any
//! part may be there, sector by sector, and any part may not.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The name of a journal, before the name of its file.
const JOURNAL: &str = "journal-";

/// Bytes of a record's head: offset, length, length of the old bytes, size of the file.
const HEAD: usize = 4 * 8;

/// The loss at a power cut, of bytes that are not synced.
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    /// All of it.
    All,
    /// A part, chosen by a seed.
    Part(u64),
}

/// Cuts the power of the disk under `data`, whose journals lie in `journals`: loses bytes that are not synced, or a part
/// of them, and all shared memory. Returns the number of bytes that were not synced, and the number of those that were
/// lost.
///
/// # Errors
/// A file cannot be read or written, or a journal cannot be parsed.
pub(crate) fn cut(journals: &Path, data: &Path, loss: Loss) -> io::Result<(u64, u64)> {
    let mut rng = match loss {
        Loss::All => None,
        Loss::Part(seed) => Some(StdRng::seed_from_u64(seed)),
    };
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(journals)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_prefix(JOURNAL).map(str::to_owned));
    }
    // In an order that does not depend on the folder.
    names.sort();
    let mut tally = (0, 0);
    for name in names {
        let journal = journals.join(format!("{JOURNAL}{name}"));
        let file = File::options()
            .read(true)
            .write(true)
            .open(data.join(&name));
        match file {
            Ok(file) => {
                let (unsynced, lost) = lose(&file, &fs::read(&journal)?, rng.as_mut())?;
                tally = (tally.0 + unsynced, tally.1 + lost);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // The file counts as synced from now on.
        fs::remove_file(journal)?;
    }
    for entry in fs::read_dir(data)? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with("-shm") {
            fs::remove_file(path)?;
        }
    }
    Ok(tally)
}

/// A write, or a change of the size, that is not synced.
struct Write {
    range: Range<u64>,
    /// The bytes that the write replaced, as far as the file reached.
    old: Range<usize>,
    old_size: u64,
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + 8)?.try_into().ok()?;
    u64::try_from(i64::from_ne_bytes(bytes)).ok()
}

/// Reads all writes that are not synced, in their order. A record that a kill cut off belongs to a write that had not
/// begun.
fn read(journal: &[u8]) -> Vec<Write> {
    let mut writes = Vec::new();
    let mut at =
        number(journal, 0).map_or(usize::MAX, |at| usize::try_from(at).unwrap_or(usize::MAX));
    while at.saturating_add(HEAD) <= journal.len() {
        let field = |index: usize| number(journal, at + 8 * index).unwrap_or_default();
        let (offset, length, old_length, old_size) = (field(0), field(1), field(2), field(3));
        let old = at + HEAD..at + HEAD + usize::try_from(old_length).unwrap_or(usize::MAX / 2);
        if old.end > journal.len() {
            break;
        }
        at = old.end;
        writes.push(Write {
            range: offset..offset + length,
            old,
            old_size,
        });
    }
    writes
}

/// Draws the state of a file after the cut.
struct Fate<'a> {
    /// Bytes that are written as a whole or not at all.
    sector: u64,
    size: u64,
    /// The probability that a sector is on the disk as it was written last; else it is in any of its versions. Without it
    /// no write is on the disk.
    chance: Option<(&'a mut StdRng, f64)>,
}

impl<'a> Fate<'a> {
    /// Draws for a file that had these sizes, the synced one first.
    fn draw(rng: Option<&'a mut StdRng>, sizes: Vec<u64>) -> Self {
        let nothing = Self {
            sector: 512,
            size: sizes[0],
            chance: None,
        };
        let Some(rng) = rng else {
            return nothing;
        };
        if rng.random_bool(0.2) {
            return nothing;
        }
        let likely = [0.0, 0.1, 0.5, 0.9, 1.0][rng.random_range(0..5)];
        let newest = sizes.len() - 1;
        let version = match rng.random_bool(likely) {
            true => newest,
            false => rng.random_range(0..=newest),
        };
        Self {
            sector: if rng.random_bool(0.5) { 512 } else { 4096 },
            size: sizes[version],
            chance: Some((rng, likely)),
        }
    }

    /// Draws the number of writes to a sector that are on the disk.
    fn kept(&mut self, count: u32) -> u32 {
        let Some((rng, likely)) = &mut self.chance else {
            return 0;
        };
        match rng.random_bool(*likely) {
            true => count,
            false => rng.random_range(0..=count),
        }
    }
}

fn lose(file: &File, journal: &[u8], rng: Option<&mut StdRng>) -> io::Result<(u64, u64)> {
    let writes = read(journal);
    if writes.is_empty() {
        return Ok((0, 0));
    }
    let now = file.metadata()?.len();
    let sizes = writes.iter().map(|write| write.old_size);
    let mut fate = Fate::draw(rng, sizes.chain([now]).collect());
    let sector = fate.sector;
    let sectors = |write: &Write| write.range.start / sector..write.range.end.div_ceil(sector);
    let mut count_of: BTreeMap<u64, u32> = BTreeMap::new();
    for one in writes.iter().flat_map(sectors) {
        *count_of.entry(one).or_default() += 1;
    }
    let kept_of: BTreeMap<u64, u32> = count_of
        .iter()
        .map(|(sector, count)| (*sector, fate.kept(*count)))
        .collect();
    let (mut unsynced, mut lost) = (0, 0);
    for write in writes.iter().rev() {
        let mut undone: Option<Range<u64>> = None;
        for one in sectors(write) {
            let part = write.range.start.max(one * sector)..write.range.end.min((one + 1) * sector);
            unsynced += part.end - part.start;
            let left = count_of.entry(one).or_default();
            *left = left.saturating_sub(1);
            if *left < kept_of[&one] {
                continue;
            }
            lost += part.end - part.start;
            undone = match undone {
                Some(before) if before.end == part.start => Some(before.start..part.end),
                Some(before) => {
                    undo(file, write, journal, before)?;
                    Some(part)
                }
                None => Some(part),
            };
        }
        if let Some(undone) = undone {
            undo(file, write, journal, undone)?;
        }
    }
    file.set_len(fate.size)?;
    file.sync_all()?;
    Ok((unsynced, lost))
}

/// Writes the old bytes of a part of a write back; beyond the end of the file they were zeros.
fn undo(file: &File, write: &Write, journal: &[u8], part: Range<u64>) -> io::Result<()> {
    let within = |at: u64| usize::try_from(at - write.range.start).unwrap_or(usize::MAX);
    let old = &journal[write.old.clone()];
    let mut bytes = vec![0; within(part.end) - within(part.start)];
    let there = old.len().min(within(part.end));
    if let Some(old) = old.get(within(part.start)..there) {
        bytes[..old.len()].copy_from_slice(old);
    }
    file.write_all_at(&bytes, part.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(journal: &mut Vec<u8>, offset: i64, length: i64, old: &[u8], old_size: i64) {
        let old_length = i64::try_from(old.len()).unwrap();
        for field in [offset, length, old_length, old_size] {
            journal.extend(field.to_ne_bytes());
        }
        journal.extend(old);
    }

    /// Makes a file of synced `a`s that was overwritten with `b`s and then with `c`s, 4 KiB longer; cuts its power.
    fn scene(loss: Loss) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let (journals, data) = (folder.path().join("faults"), folder.path().join("data"));
        fs::create_dir(&journals).unwrap();
        fs::create_dir(&data).unwrap();
        let mut journal = 8_i64.to_ne_bytes().to_vec();
        record(&mut journal, 0, 8192, &[b'a'; 8192], 8192);
        record(&mut journal, 0, 12288, &[b'b'; 8192], 8192);
        // A kill came while this record was written.
        journal.extend(77_i64.to_ne_bytes());
        fs::write(journals.join("journal-f"), &journal).unwrap();
        fs::write(data.join("f"), [b'c'; 12288]).unwrap();
        fs::write(data.join("f-shm"), "memory").unwrap();
        cut(&journals, &data, loss).unwrap();
        assert!(!data.join("f-shm").exists());
        assert!(!journals.join("journal-f").exists());
        fs::read(data.join("f")).unwrap()
    }

    #[test]
    fn any_mix_of_versions_may_be_there_and_nothing_else() {
        let (mut seen, mut torn) = (std::collections::BTreeSet::new(), 0);
        for seed in 0..200 {
            let file = scene(Loss::Part(seed));
            assert!([8192, 12288].contains(&file.len()));
            for sector in file.chunks(512) {
                assert!(
                    sector.iter().all(|byte| *byte == sector[0]),
                    "torn within a sector"
                );
            }
            assert!(file[..8192].iter().all(|byte| b"abc".contains(byte)));
            assert!(file[8192..].iter().all(|byte| b"\0c".contains(byte)));
            seen.extend(file.iter().copied());
            torn += u32::from(file.iter().any(|byte| *byte != file[0]));
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), b"\0abc");
        assert!(torn > 50);
    }

    #[test]
    fn all_that_is_not_synced_may_be_lost() {
        assert_eq!(scene(Loss::All), [b'a'; 8192]);
    }

    #[test]
    fn the_same_seed_loses_the_same() {
        assert_eq!(scene(Loss::Part(3)), scene(Loss::Part(3)));
    }
}
