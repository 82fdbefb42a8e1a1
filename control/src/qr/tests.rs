//! What was drawn is read again, by a reader that knows nothing of how it was drawn.

use super::*;

/// A picture, with the light that each pixel reflects.
struct Picture {
    size: usize,
    light: Vec<u8>,
}

impl Picture {
    /// What a reader sees on it.
    fn read(&self) -> Option<String> {
        let mut image =
            rqrr::PreparedImage::prepare_from_greyscale(self.size, self.size, |x, y| {
                self.light[y * self.size + x]
            });
        let grids = image.detect_grids();
        let [grid] = grids.as_slice() else { return None };
        grid.decode().ok().map(|(_, text)| text)
    }

    /// Draws the path of an SVG at its own size, as browsers do.
    fn of_svg(svg: &str) -> Self {
        let attribute = |of: &str, name: &str| {
            let (_, rest) = of.split_once(&format!(" {name}=\"")).unwrap();
            rest.split_once('"').unwrap().0.to_owned()
        };
        let size: usize = attribute(svg, "width").parse().unwrap();
        let side: usize = attribute(svg, "viewBox").rsplit(' ').next().unwrap().parse().unwrap();
        let mut light = vec![0_u8; size * size];
        for path in svg.split("<path").skip(1) {
            let fill = u32::from_str_radix(attribute(path, "fill").trim_start_matches('#'), 16);
            let [_, red, green, blue] = fill.unwrap().to_be_bytes();
            let fill = u8::try_from((u32::from(red) + u32::from(green) + u32::from(blue)) / 3);
            for part in attribute(path, "d").split('M').skip(1) {
                let numbers: Vec<usize> = part
                    .split(|c: char| !c.is_ascii_digit())
                    .filter_map(|number| number.parse().ok())
                    .collect();
                let [x, y, width, height, ..] = numbers[..] else { panic!("{part}") };
                for (at, light) in light.iter_mut().enumerate() {
                    let (column, row) = (at % size * side / size, at / size * side / size);
                    if (x..x + width).contains(&column) && (y..y + height).contains(&row) {
                        *light = fill.unwrap();
                    }
                }
            }
        }
        Self { size, light }
    }

    /// Reads a PNG as its specification says, for pictures of one bit a pixel without filters.
    fn of_png(file: &[u8]) -> Self {
        let mut rest = file.strip_prefix(b"\x89PNG\r\n\x1a\n").unwrap();
        let (mut size, mut palette, mut pixels, mut names) =
            (0, Vec::new(), Vec::new(), Vec::new());
        while !rest.is_empty() {
            let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
            let (name, data) = (&rest[4..8], &rest[8..8 + length]);
            let checksum = u32::from_be_bytes(rest[8 + length..12 + length].try_into().unwrap());
            assert_eq!(checksum, crc32fast::hash(&rest[4..8 + length]));
            match name {
                b"IHDR" => {
                    assert_eq!((&data[..4], &data[8..]), (&data[4..8], &[1, 3, 0, 0, 0][..]));
                    size = u32::from_be_bytes(data[..4].try_into().unwrap()) as usize;
                }
                b"PLTE" => palette = data.to_vec(),
                b"IDAT" => pixels = miniz_oxide::inflate::decompress_to_vec_zlib(data).unwrap(),
                _ => {}
            }
            names.push(name.to_vec());
            rest = &rest[12 + length..];
        }
        assert_eq!(names, [b"IHDR", b"PLTE", b"IDAT", b"IEND"]);
        let mut light = Vec::with_capacity(size * size);
        for row in pixels.chunks_exact(1 + size.div_ceil(8)) {
            assert_eq!(row[0], 0);
            light.extend((0..size).map(|x| {
                let colour = usize::from(row[1 + x / 8] >> (7 - x % 8) & 1);
                let [red, green, blue] = palette[3 * colour..3 * colour + 3] else { panic!() };
                u8::try_from((u32::from(red) + u32::from(green) + u32::from(blue)) / 3).unwrap()
            }));
        }
        assert_eq!(light.len(), size * size);
        Self { size, light }
    }
}

fn green() -> Design {
    Design {
        foreground: Colour::parse("0a6b4f").unwrap(),
        background: Colour::parse("#dcefe7").unwrap(),
        ..Design::default()
    }
}

#[test]
fn what_is_drawn_is_read() {
    let short = "https://go.example/aB3_x-9?via=qr";
    let long = format!("https://{}.example/{}?via=qr", "n".repeat(60), "C".repeat(64));
    for (text, design) in [
        (short, Design { size: 128, ..Design::default() }),
        (short, Design { size: 301, margin: 2, level: Level::L, ..Design::default() }),
        (short, Design { size: 200, level: Level::Q, ..green() }),
        (&*long, Design { size: 256, level: Level::H, ..Design::default() }),
        (&*long, Design { size: 333, margin: 16, level: Level::H, ..green() }),
    ] {
        let svg = Picture::of_svg(&svg(text, &design).unwrap());
        let png = Picture::of_png(&png(text, &design).unwrap());
        assert_eq!([svg.size, png.size], [design.size as usize; 2]);
        assert_eq!(svg.read().as_deref(), Some(text), "{design:?}");
        assert_eq!(png.read().as_deref(), Some(text), "{design:?}");
    }
}

/// A fifth of the level H's code is torn off, and it is read all the same.
#[test]
fn a_torn_code_is_read_where_the_level_says_so() {
    let text = "https://go.example/aB3_x-9?via=qr";
    let torn = |level| {
        let mut picture =
            Picture::of_png(&png(text, &Design { level, ..Design::default() }).unwrap());
        let size = picture.size;
        for at in 0..size * size {
            let (x, y) = (at % size, at / size);
            // Between the marks in the corners, where there is only data.
            if (size * 45 / 100..size * 70 / 100).contains(&x)
                && (size * 45 / 100..size * 65 / 100).contains(&y)
            {
                picture.light[at] = 255;
            }
        }
        picture.read()
    };
    assert_eq!(torn(Level::H).as_deref(), Some(text));
    assert_eq!(torn(Level::L), None);
}

/// Whatever a logo looks like, and however long the text is.
#[test]
fn a_code_with_a_logo_in_its_room_is_read() {
    let design = Design { logo: true, level: Level::H, size: 256, ..Design::default() };
    for length in [1, 20, 64] {
        let text = format!("https://go.example/{}?via=qr", "x".repeat(length));
        let numbers = |text: &str| -> Vec<usize> {
            text.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect()
        };
        let plain = svg(&text, &design).unwrap();
        let (_, side) = plain.split_once("viewBox=\"0 0 ").unwrap();
        let (_, room) = plain.split_once("<rect id=\"logo\"").unwrap();
        let (side, room) = (numbers(side)[0], numbers(room));
        let [x, y, width, height] = room[..] else { panic!("{room:?}") };
        assert_eq!((x, y, 2 * x + width), (y, x, side), "it is in the middle");
        assert!(width == height && width >= 5, "{width}");

        let scale = design.size as usize / side;
        let start = (design.size as usize - scale * side) / 2 + scale * x;
        let logos: [fn(usize) -> u8; 4] = [
            |_| 0,
            |_| 255,
            |at| if at % 2 == 0 { 255 } else { 0 },
            |at| (at * 131).to_le_bytes()[0],
        ];
        for logo in logos {
            let mut picture = Picture::of_png(&png(&text, &design).unwrap());
            for at in 0..(scale * width).pow(2) {
                let (column, row) = (at % (scale * width), at / (scale * width));
                let light = &mut picture.light[(start + row) * picture.size + start + column];
                assert_eq!(*light, 255, "there is room");
                *light = logo(column / scale + row / scale * 7);
            }
            assert_eq!(picture.read().as_deref(), Some(&*text), "{length}");
        }
    }
}

#[test]
fn what_could_not_be_read_is_refused() {
    let plain = Design::default();
    let text = "https://go.example/a?via=qr";
    for (text, design, error) in [
        (text, Design { size: 63, ..plain }, QrError::Size),
        (text, Design { size: 4097, ..plain }, QrError::Size),
        (text, Design { margin: 17, ..plain }, QrError::Margin),
        (text, Design { logo: true, ..plain }, QrError::Logo),
        (
            text,
            Design { foreground: Colour::WHITE, background: Colour::BLACK, ..plain },
            QrError::Inverted,
        ),
        (text, Design { foreground: Colour::WHITE, ..plain }, QrError::Contrast),
        (&*"x".repeat(300), Design { size: 64, ..plain }, QrError::Crowded { modules: 77 }),
        (&*"x".repeat(3000), plain, QrError::TooLong),
    ] {
        assert_eq!(svg(text, &design), Err(error.clone()));
        assert_eq!(png(text, &design).err(), Some(error));
    }
    let largest = png(text, &Design { size: 4096, ..plain }).unwrap();
    assert!(largest.len() < 64 * 1024, "{}", largest.len());
}
