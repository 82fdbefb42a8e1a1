//! QR codes (ISO/IEC 18004) of short URLs. Pure, but for [`api`].
//!
//! ```text
//! text -> modules (fast_qr) -> svg: one path     (what printers and pages take)
//!                           -> png: 1 bit a pixel (what everything else takes)
//! ```
//!
//! What is drawn can be read: dark on light, with enough between the two, in whole pixels. For a logo
//! there is [room](Design::logo) in the middle; it is laid there by whoever has it, a browser or a
//! program: a picture of somebody else's would have to be decoded or handed on here.

pub(crate) mod api;
mod colour;
mod png;

use std::fmt::Write as _;

use fast_qr::qr::{QRBuilder, QRCode};
use fast_qr::{ECL, Mode};

pub(crate) use colour::Colour;
pub(crate) use png::png;

/// Light modules around a code: what ISO/IEC 18004, 9.1 asks for.
const MARGIN_DEFAULT: u32 = 4;
const MARGIN_MAX: u32 = 16;
/// Pixels of a side.
const SIZE_DEFAULT: u32 = 512;
const SIZE_MIN: u32 = 64;
const SIZE_MAX: u32 = 4096;
/// Modules of a side, of which a logo's room has one: it takes a sixteenth of a code, whose level `h`
/// survives the loss of much more.
const LOGO_PART: u32 = 4;

/// How a code is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Design {
    /// Pixels of a side, with the margin.
    pub(crate) size: u32,
    /// Light modules on each side.
    pub(crate) margin: u32,
    pub(crate) level: Level,
    pub(crate) foreground: Colour,
    pub(crate) background: Colour,
    /// Leaves a square in the middle light; with the level `h` alone.
    pub(crate) logo: bool,
}

impl Default for Design {
    fn default() -> Self {
        Self {
            size: SIZE_DEFAULT,
            margin: MARGIN_DEFAULT,
            level: Level::M,
            foreground: Colour::BLACK,
            background: Colour::WHITE,
            logo: false,
        }
    }
}

/// How much of a code may be dirty or torn (ISO/IEC 18004, 6.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Level {
    /// 7 %
    L,
    /// 15 %
    #[default]
    M,
    /// 25 %
    Q,
    /// 30 %
    H,
}

/// Why a code cannot be drawn as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QrError {
    #[error("size is from {SIZE_MIN} to {SIZE_MAX} pixels")]
    Size,
    #[error("margin is from 0 to {MARGIN_MAX} modules")]
    Margin,
    #[error(
        "this code has {modules} modules on a side, and a module is at least a pixel: ask for a size of \
         {modules} or more"
    )]
    Crowded { modules: u32 },
    #[error("a logo hides a part of the code: leave level out, or ask for h")]
    Logo,
    #[error("the text is longer than a QR code can hold at this level of error correction")]
    TooLong,
    #[error("readers look for dark on light: swap foreground and background")]
    Inverted,
    #[error(
        "foreground and background are too alike to be read: take a darker foreground or a lighter \
         background"
    )]
    Contrast,
}

/// The code of a text as SVG: by itself a file, and a part of any page.
///
/// # Errors
/// The text is too long, or the design cannot be drawn.
pub(crate) fn svg(text: &str, design: &Design) -> Result<String, QrError> {
    let code = Modules::of(text, design)?;
    let Design { size, margin, foreground, background, .. } = design;
    let side = code.side;
    let mut path = String::new();
    for y in 0..code.count {
        let mut x = 0;
        while x < code.count {
            let run = (x..code.count).take_while(|x| code.is_dark(*x, y)).count();
            if run > 0 {
                let (left, top) = (x + margin, y + margin);
                write!(path, "M{left} {top}h{run}v1h-{run}z").expect("a string takes everything");
            }
            x += u32::try_from(run).unwrap_or(u32::MAX).saturating_add(1);
        }
    }
    let logo = code.logo.map(|(at, side)| {
        let at = at + margin;
        format!("<rect id=\"logo\" x=\"{at}\" y=\"{at}\" width=\"{side}\" height=\"{side}\" fill=\"none\"/>")
    });
    let logo = logo.unwrap_or_default();
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{size}\" height=\"{size}\" \
         viewBox=\"0 0 {side} {side}\" shape-rendering=\"crispEdges\">\
         <path fill=\"{background}\" d=\"M0 0h{side}v{side}h-{side}z\"/>\
         <path fill=\"{foreground}\" d=\"{path}\"/>{logo}</svg>\n"
    ))
}

/// A code before it is drawn.
struct Modules {
    code: Box<QRCode>,
    /// Of a side, without the margin.
    count: u32,
    /// Of a side, with the margin.
    side: u32,
    /// Where a logo's room begins, from the left and from the top, and its side.
    logo: Option<(u32, u32)>,
}

impl Modules {
    fn of(text: &str, design: &Design) -> Result<Self, QrError> {
        design.check()?;
        let level = match design.level {
            Level::L => ECL::L,
            Level::M => ECL::M,
            Level::Q => ECL::Q,
            Level::H => ECL::H,
        };
        let mut builder = QRBuilder::new(text);
        // Only what is shorter in another mode is worth one: a URL has small letters.
        builder.ecl(level).mode(Mode::Byte);
        let code = Box::new(builder.build().map_err(|_| QrError::TooLong)?);
        let count = u32::try_from(code.size).map_err(|_| QrError::TooLong)?;
        let side = count + 2 * design.margin;
        if design.size < side {
            return Err(QrError::Crowded { modules: side });
        }
        // As odd as the code's side, so that it is in the middle.
        let room = (count / LOGO_PART - 1) | 1;
        let logo = design.logo.then_some(((count - room) / 2, room));
        Ok(Self { code, count, side, logo })
    }

    fn is_dark(&self, x: u32, y: u32) -> bool {
        let is_logo = self.logo.is_some_and(|(at, side)| {
            let room = at..at + side;
            room.contains(&x) && room.contains(&y)
        });
        !is_logo && self.code[y as usize][x as usize].value()
    }
}

impl Design {
    fn check(&self) -> Result<(), QrError> {
        if !(SIZE_MIN..=SIZE_MAX).contains(&self.size) {
            return Err(QrError::Size);
        }
        if self.margin > MARGIN_MAX {
            return Err(QrError::Margin);
        }
        if self.logo && self.level != Level::H {
            return Err(QrError::Logo);
        }
        colour::check(self.foreground, self.background)
    }
}

#[cfg(test)]
mod tests;
