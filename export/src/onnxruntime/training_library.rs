//! The training library, made of the Python extension module that holds it.
//!
//! The module contains the whole runtime with its C API, but exports one function, `PyInit_*`, and refers to functions
//! that only a Python process has. Three changes to its dynamic symbols (System V ABI, chapter 5; the GNU hash section
//! as glibc's `dl-lookup.c` reads it) make it a plain library:
//!
//! 1. The export is renamed to `OrtGetApiBase` and points to the function of that name, which is hidden. It returns the
//!    address of `OrtApiBase { GetApi, GetVersionString }`; the relocation of that table's second field leads to a
//!    function that returns the address of the version string. Both functions are `lea rax, [rip + x]; ret`.
//! 2. The hash section finds it under its name.
//! 3. Undefined symbols of Python become weak: they resolve to 0, and nothing that the C API does calls them.

use siskin::{Error, ErrorKind, Result};
use std::collections::HashMap;

const EXPORT: &[u8] = b"OrtGetApiBase\0";
const X86_64: u16 = 62; // e_machine
const LOAD: u32 = 1; // p_type
const RELA: u32 = 4; // sh_type
const RELATIVE: u32 = 8; // R_X86_64_RELATIVE
const WEAK: u8 = 2; // STB_WEAK
const SYMBOL_SIZE: usize = 24;
const RELOCATION_SIZE: usize = 24;

/// Makes a library of the extension module `bytes` of ONNX Runtime `version`.
///
/// # Errors
/// When `bytes` are not such a module.
pub fn make(bytes: Vec<u8>, version: &str) -> Result<Vec<u8>> {
    let mut elf = Elf::parse(bytes)?;
    let function = elf.api_base_function(version)?;
    elf.export(function)?;
    Ok(elf.bytes)
}

/// A little-endian ELF file of 64 bits.
struct Elf {
    bytes: Vec<u8>,
    sections: Vec<Section>,
}

#[derive(Clone)]
struct Section {
    name: Vec<u8>,
    kind: u32,
    address: u64,
    offset: usize,
    size: usize,
    link: usize,
}

impl Elf {
    fn parse(bytes: Vec<u8>) -> Result<Self> {
        let mut elf = Self { bytes, sections: Vec::new() };
        if elf.slice(0, 6)? != b"\x7fELF\x02\x01" || elf.u16(18)? != X86_64 {
            return Err(unexpected("not an ELF file for x86-64"));
        }
        let table = elf.u64(40)? as usize;
        let (entry, count, names) = (elf.u16(58)?, elf.u16(60)?, elf.u16(62)?);
        let header = |index: u16| add(table, usize::from(index) * usize::from(entry));
        let names = elf.u64(add(header(names)?, 24)?)? as usize;
        for index in 0..count {
            let at = header(index)?;
            let section = Section {
                name: elf.string(add(names, elf.u32(at)? as usize)?)?.to_vec(),
                kind: elf.u32(add(at, 4)?)?,
                address: elf.u64(add(at, 16)?)?,
                offset: elf.u64(add(at, 24)?)? as usize,
                size: elf.u64(add(at, 32)?)? as usize,
                link: elf.u32(add(at, 40)?)? as usize,
            };
            elf.sections.push(section);
        }
        Ok(elf)
    }

    /// The address of the function that returns `OrtApiBase`.
    fn api_base_function(&self, version: &str) -> Result<u64> {
        let getters = self.getters()?;
        let none = Vec::new();
        let returning = |address: u64| getters.get(&address).unwrap_or(&none);
        let mut found = Vec::new();
        for text in self.addresses_of(version)? {
            for &get_version in returning(text) {
                for slot in self.relocated_to(get_version)? {
                    found.extend(returning(slot.wrapping_sub(8)));
                }
            }
        }
        match found[..] {
            [function] => Ok(function),
            _ => Err(unexpected(&format!("{} functions return an OrtApiBase {version}", found.len()))),
        }
    }

    /// The functions that only return an address, by that address.
    fn getters(&self) -> Result<HashMap<u64, Vec<u64>>> {
        const ENDBR64: &[u8] = &[0xf3, 0x0f, 0x1e, 0xfa];
        const LEA_RAX: &[u8] = &[0x48, 0x8d, 0x05];
        const RET: u8 = 0xc3;
        let text = self.section(b".text")?;
        let code = self.slice(text.offset, text.size)?;
        let mut getters: HashMap<u64, Vec<u64>> = HashMap::new();
        for (i, window) in code.windows(8).enumerate() {
            let &[.., d0, d1, d2, d3, RET] = window else { continue };
            if window.starts_with(LEA_RAX) {
                let lea = text.address.wrapping_add(i as u64);
                let distance = i64::from(i32::from_le_bytes([d0, d1, d2, d3]));
                let target = lea.wrapping_add(7).wrapping_add_signed(distance);
                let start = if code[..i].ends_with(ENDBR64) { lea.wrapping_sub(4) } else { lea };
                getters.entry(target).or_default().push(start);
            }
        }
        Ok(getters)
    }

    /// Where the whole string `text` will be in memory.
    fn addresses_of(&self, text: &str) -> Result<Vec<u64>> {
        let pattern = [b"\0", text.as_bytes(), b"\0"].concat();
        let places = self.bytes.windows(pattern.len()).enumerate().filter(|(_, window)| *window == pattern);
        let addresses: Result<Vec<Option<u64>>> = places.map(|(at, _)| self.address_of(at + 1)).collect();
        Ok(addresses?.into_iter().flatten().collect())
    }

    /// The address that the byte at `offset` of the file is loaded to, if it is.
    fn address_of(&self, offset: usize) -> Result<Option<u64>> {
        let table = self.u64(32)? as usize;
        let (entry, count) = (usize::from(self.u16(54)?), usize::from(self.u16(56)?));
        for index in 0..count {
            let at = add(table, index * entry)?;
            let start = self.u64(add(at, 8)?)?;
            let (address, size) = (self.u64(add(at, 16)?)?, self.u64(add(at, 32)?)?);
            let inside = (offset as u64).checked_sub(start).filter(|&distance| distance < size);
            if let Some(distance) = inside
                && self.u32(at)? == LOAD
            {
                return Ok(address.checked_add(distance));
            }
        }
        Ok(None)
    }

    /// The addresses that hold the address `target` once the library is loaded.
    fn relocated_to(&self, target: u64) -> Result<Vec<u64>> {
        let mut slots = Vec::new();
        for section in self.sections.iter().filter(|section| section.kind == RELA) {
            for at in entries(section, RELOCATION_SIZE)? {
                if self.u32(add(at, 8)?)? == RELATIVE && self.u64(add(at, 16)?)? == target {
                    slots.push(self.u64(at)?);
                }
            }
        }
        Ok(slots)
    }

    /// Makes the one exported function `OrtGetApiBase` at address `function`, and Python's symbols weak.
    fn export(&mut self, function: u64) -> Result<()> {
        let symbols = self.section(b".dynsym")?;
        let strings =
            self.sections.get(symbols.link).ok_or_else(|| unexpected("no names of symbols"))?.offset;
        let mut exported = None;
        for (index, at) in entries(&symbols, SYMBOL_SIZE)?.enumerate() {
            let name_at = add(strings, self.u32(at)? as usize)?;
            let name = self.string(name_at)?;
            let (python, export) =
                (name.starts_with(b"Py") || name.starts_with(b"_Py"), name.starts_with(b"PyInit_"));
            let (info, undefined) = (self.slice(add(at, 4)?, 1)?[0], self.u16(add(at, 6)?)? == 0);
            match undefined {
                true if python => self.put(add(at, 4)?, &[info & 0xf | WEAK << 4])?,
                false if export => exported = Some((index, at, name_at, name.len())),
                _ => {}
            }
        }
        let (index, at, name_at, length) = exported.ok_or_else(|| unexpected("no export PyInit_*"))?;
        if length < EXPORT.len() - 1 {
            return Err(unexpected("the export's name is too short to be replaced"));
        }
        self.put(name_at, EXPORT)?;
        self.put(add(at, 8)?, &function.to_le_bytes())?; // st_value
        self.put(add(at, 16)?, &16u64.to_le_bytes())?; // st_size
        self.hash(index)
    }

    /// Lets the hash section find symbol `index` under its name: the Bloom filter lets everything pass, the bucket of
    /// the name begins with the symbol, and the chain ends with it.
    fn hash(&mut self, index: usize) -> Result<()> {
        let table = self.section(b".gnu.hash")?.offset;
        let field = |i: usize| self.u32(add(table, 4 * i)?).map(|value| value as usize);
        let (buckets, first, bloom) = (field(0)?, field(1)?, field(2)?);
        let name = &EXPORT[..EXPORT.len() - 1];
        let hash = name.iter().fold(5381u32, |h, &byte| h.wrapping_mul(33).wrapping_add(byte.into()));
        let bloom_at = add(table, 16)?;
        let bloom_size = bloom.checked_mul(8).ok_or_else(cut_off)?;
        let buckets_at = add(bloom_at, bloom_size)?;
        let chains_at = add(buckets_at, buckets.checked_mul(4).ok_or_else(cut_off)?)?;
        let bucket = (hash as usize).checked_rem(buckets).ok_or_else(|| unexpected("no hash buckets"))?;
        let link = index.checked_sub(first).ok_or_else(|| unexpected("the export is not hashed"))?;
        self.bytes.get_mut(bloom_at..buckets_at).ok_or_else(cut_off)?.fill(0xff);
        self.put(add(chains_at, 4 * link)?, &(hash | 1).to_le_bytes())?;
        self.put(add(buckets_at, 4 * bucket)?, &(index as u32).to_le_bytes())
    }

    fn section(&self, name: &[u8]) -> Result<Section> {
        let section = self.sections.iter().find(|section| section.name == name).cloned();
        section.ok_or_else(|| unexpected(&format!("no section {}", String::from_utf8_lossy(name))))
    }

    fn slice(&self, offset: usize, size: usize) -> Result<&[u8]> {
        self.bytes.get(offset..add(offset, size)?).ok_or_else(cut_off)
    }

    fn put(&mut self, offset: usize, new: &[u8]) -> Result<()> {
        let place = self.bytes.get_mut(offset..add(offset, new.len())?).ok_or_else(cut_off)?;
        place.copy_from_slice(new);
        Ok(())
    }

    /// The bytes from `offset` up to the next 0.
    fn string(&self, offset: usize) -> Result<&[u8]> {
        let rest = self.bytes.get(offset..).ok_or_else(cut_off)?;
        rest.split(|&byte| byte == 0).next().ok_or_else(cut_off)
    }

    fn number<const N: usize>(&self, offset: usize) -> Result<[u8; N]> {
        self.slice(offset, N)?.try_into().map_err(|_| cut_off())
    }

    fn u16(&self, offset: usize) -> Result<u16> {
        self.number(offset).map(u16::from_le_bytes)
    }

    fn u32(&self, offset: usize) -> Result<u32> {
        self.number(offset).map(u32::from_le_bytes)
    }

    fn u64(&self, offset: usize) -> Result<u64> {
        self.number(offset).map(u64::from_le_bytes)
    }
}

/// Offsets of the entries of a table.
fn entries(table: &Section, size: usize) -> Result<impl Iterator<Item = usize> + use<>> {
    let end = add(table.offset, table.size / size * size)?;
    Ok((table.offset..end).step_by(size))
}

fn add(offset: usize, distance: usize) -> Result<usize> {
    offset.checked_add(distance).ok_or_else(cut_off)
}

fn cut_off() -> Error {
    unexpected("a part of it lies outside the file")
}

fn unexpected(what: &str) -> Error {
    Error::new(
        ErrorKind::Schema,
        format!("the training library cannot be made: the wheel's module is not as expected: {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_module_is_an_error() {
        for bytes in [&b""[..], b"\x7fELF\x02\x01", &[0xff; 4096]] {
            assert!(make(bytes.to_vec(), "1.19.2").is_err());
        }
        let mut header = [0xff; 4096];
        header[..6].copy_from_slice(b"\x7fELF\x02\x01");
        header[18..20].copy_from_slice(&X86_64.to_le_bytes());
        assert!(make(header.to_vec(), "1.19.2").is_err());
    }
}
