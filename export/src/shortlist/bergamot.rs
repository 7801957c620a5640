//! Bergamot's binary shortlists, `lex.50.50.*.s2t.bin` beside the models of Firefox Translations.
//!
//! All little-endian: u64 magic, u64 checksum of what follows, u64 number of tokens that are always listed (the first
//! of the vocabulary), u64 best translations kept, u64 number of offsets, u64 number of listed tokens, the u64 offsets
//! (one more than there are source tokens), the u32 tokens. The checksum folds the u64 words behind it with
//! `seed ^= word + 0x9e3779b9 + (seed << 6) + (seed >> 2)`; a last half word is left out.

use siskin::format::ShortlistBuilder;
use siskin::{Error, ErrorKind, Result};

const MAGIC: u64 = 0xf11a_48d5_0134_17f5;
const HEAD: usize = 48;

/// The shortlist section that lists what the file `bytes` does, for vocabularies of `source_size` and `target_size`
/// tokens. `end` is always listed.
///
/// # Errors
/// [`ErrorKind::InvalidOption`] if the bytes are not such a file, or are one for larger vocabularies;
/// [`ErrorKind::Corrupt`] if the checksum differs or lists do not lie in the file.
pub fn read_bergamot(bytes: &[u8], source_size: usize, target_size: usize, end: u32) -> Result<Vec<u8>> {
    let corrupt =
        |what: &str| Error::new(ErrorKind::Corrupt, format!("shortlist: {what}: the file is damaged"));
    let invalid = |message: String| Error::new(ErrorKind::InvalidOption, message);
    let (words, _) = bytes.as_chunks::<8>();
    let word = |place: usize| words.get(place).map(|&word| u64::from_le_bytes(word));
    if word(0) != Some(MAGIC) {
        return Err(invalid(
            "not a binary shortlist of Bergamot; compressed ones must be unpacked first".into(),
        ));
    }
    let size = |place: usize| word(place).and_then(|word| usize::try_from(word).ok());
    let (Some(first), Some(offsets), Some(listed)) = (size(2), size(4), size(5)) else {
        return Err(corrupt("its head is cut"));
    };
    let length = offsets.checked_mul(8).zip(listed.checked_mul(4));
    let length = length.and_then(|(offsets, listed)| HEAD.checked_add(offsets)?.checked_add(listed));
    if length != Some(bytes.len()) {
        return Err(corrupt("it has another length than its head says"));
    }
    if Some(checksum(&words[2..])) != word(1) {
        return Err(corrupt("its checksum differs"));
    }
    let (lists, tokens) = (&words[HEAD / 8..HEAD / 8 + offsets], &bytes[HEAD + 8 * offsets..]);
    let (tokens, _) = tokens.as_chunks::<4>();
    let tokens: Vec<u32> = tokens.iter().map(|&token| u32::from_le_bytes(token)).collect();
    let largest = tokens.iter().max().map_or(0, |&token| token as usize + 1).max(first);
    if offsets.saturating_sub(1) > source_size || largest > target_size {
        return Err(invalid(format!(
            "a shortlist of {} source and at least {largest} target tokens, for a model of {source_size} and \
             {target_size}: it belongs to another model",
            offsets.saturating_sub(1)
        )));
    }
    let always: Vec<u32> = (0..first as u32).chain([end]).collect();
    let mut builder = ShortlistBuilder::new(target_size as u32, &always);
    for source in 0..source_size {
        let place = |i: usize| lists.get(i).map(|&offset| u64::from_le_bytes(offset) as usize);
        let list = match (place(source), place(source + 1)) {
            (Some(start), Some(end)) => {
                tokens.get(start..end).ok_or_else(|| corrupt("a list is out of bounds"))?
            }
            _ => &[],
        };
        builder.push(list.iter().copied());
    }
    Ok(builder.build())
}

fn checksum(words: &[[u8; 8]]) -> u64 {
    words.iter().fold(0u64, |seed, &word| {
        let word = u64::from_le_bytes(word).wrapping_add(0x9e37_79b9);
        seed ^ word.wrapping_add(seed << 6).wrapping_add(seed >> 2)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use siskin::format::Shortlist;

    fn file() -> Vec<u8> {
        let mut words: Vec<u64> = vec![MAGIC, 0, 2, 9, 4, 3, 0, 2, 2, 3];
        words.push(5 | (6 << 32)); // list of token 0
        let half = 4u32.to_le_bytes(); // list of token 2
        let bytes: Vec<[u8; 8]> = words.iter().map(|word| word.to_le_bytes()).collect();
        words[1] = checksum(&bytes[2..]);
        words.iter().flat_map(|word| word.to_le_bytes()).chain(half).collect()
    }

    #[test]
    fn lists_become_a_section() -> Result<()> {
        let section = read_bergamot(&file(), 4, 8, 3)?;
        let shortlist = Shortlist::parse(&section)?;
        assert!(shortlist.always().iter().eq([0, 1, 3]));
        let lists: Vec<Vec<u32>> = (0..4).map(|i| shortlist.of(i).unwrap().iter().collect()).collect();
        assert_eq!(lists, [vec![5, 6], vec![], vec![4], vec![]]);
        Ok(())
    }

    #[test]
    fn what_is_damaged_or_of_another_model_is_refused() {
        for length in 0..file().len() {
            assert!(read_bergamot(&file()[..length], 4, 8, 3).is_err());
        }
        for at in 0..file().len() - 4 {
            let mut damaged = file();
            damaged[at] ^= 4;
            assert!(read_bergamot(&damaged, 4, 8, 3).is_err(), "byte {at}");
        }
        for (sources, targets) in [(2, 8), (4, 6)] {
            let error = read_bergamot(&file(), sources, targets, 3).unwrap_err();
            assert!(error.to_string().contains("another model"), "{error}");
        }
    }
}
