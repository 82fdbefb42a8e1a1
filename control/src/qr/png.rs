//! A code as PNG (W3C Portable Network Graphics, third edition), with a bit a pixel.
//!
//! A picture of two colours is five chunks, and only the compression is more than copying: that is
//! `miniz_oxide`'s. The crate `png` brings a second version of it and 2,000 lines for pictures that
//! are not drawn here.

use super::{Design, Modules, QrError};

const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";
/// Rows that are alike compress at any level; higher ones take longer for a few bytes.
const COMPRESSION: u8 = 6;

/// The code of a text as PNG. Each module is a whole number of pixels; what is left over is margin.
///
/// # Errors
/// The text is too long, or the design cannot be drawn.
pub(crate) fn png(text: &str, design: &Design) -> Result<Vec<u8>, QrError> {
    let code = Modules::of(text, design)?;
    let pixels = paint(&code, design);
    let size = design.size.to_be_bytes();
    let mut head = [size, size].concat();
    // One bit a pixel, from a palette, deflated, filtered row by row, not interlaced.
    head.extend([1, 3, 0, 0, 0]);
    let palette = [design.background.bytes(), design.foreground.bytes()].concat();
    let mut file = SIGNATURE.to_vec();
    chunk(&mut file, *b"IHDR", &head);
    chunk(&mut file, *b"PLTE", &palette);
    chunk(&mut file, *b"IDAT", &miniz_oxide::deflate::compress_to_vec_zlib(&pixels, COMPRESSION));
    chunk(&mut file, *b"IEND", &[]);
    Ok(file)
}

/// Rows of pixels, each after its filter's number: 0, none.
fn paint(code: &Modules, design: &Design) -> Vec<u8> {
    let size = design.size as usize;
    // At least one: the design was checked.
    let scale = design.size / code.side;
    let start = (design.size - scale * code.count) / 2;
    let row_bytes = 1 + size.div_ceil(8);
    let mut pixels = vec![0; row_bytes * size];
    for y in 0..design.size {
        let row = y.checked_sub(start).map(|y| y / scale).filter(|row| *row < code.count);
        let Some(row) = row else { continue };
        for module in (0..code.count).filter(|x| code.is_dark(*x, row)) {
            let left = start + module * scale;
            for x in left..left + scale {
                let byte = row_bytes * y as usize + 1 + x as usize / 8;
                pixels[byte] |= 0x80 >> (x % 8);
            }
        }
    }
    pixels
}

fn chunk(file: &mut Vec<u8>, name: [u8; 4], data: &[u8]) {
    let length = u32::try_from(data.len()).expect("a picture has at most 2 MiB");
    file.extend(length.to_be_bytes());
    let start = file.len();
    file.extend(name);
    file.extend(data);
    let checksum = crc32fast::hash(&file[start..]);
    file.extend(checksum.to_be_bytes());
}
