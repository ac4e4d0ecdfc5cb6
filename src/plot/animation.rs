//! A race in motion, as a GIF.

use std::collections::HashMap;

use gif::{DisposalMethod, Encoder, EncodingError, Frame, Repeat};

use super::canvas::Canvas;
use super::landscape::Landscape;
use super::scene::Colour;

/// Moments that are shown, one after the other.
const MOMENTS: u64 = 100;
/// Hundredths of a second that a moment is shown, and the last one.
const DELAY: u16 = 6;
const LAST_DELAY: u16 = 300;
/// Colours of the picture; one more stands for what stays as it was.
const COLOURS: usize = 255;
const UNCHANGED: u8 = 255;

/// The race from its start to its end as a GIF file, which begins again when it is over.
///
/// Early steps are shown more slowly, as racers are fastest there: time goes with the square of the moment.
///
/// # Errors
/// What the encoder says of it, such as a picture wider than a GIF can be.
pub(crate) fn gif(landscape: &Landscape) -> Result<Vec<u8>, EncodingError> {
    let background = Canvas::of(landscape.background());
    let last = landscape.last_step();
    let moments = last.clamp(1, MOMENTS);
    let canvas = |step: u64| {
        let mut canvas = background.clone();
        canvas.draw(&landscape.moment(step));
        canvas
    };
    // The last moment shows all that any other does.
    let mut palette = Palette::of(&canvas(last));
    let mut file = Vec::new();
    let (width, height) = (background.width as u16, background.height as u16);
    let mut encoder = Encoder::new(&mut file, width, height, &palette.bytes())?;
    encoder.set_repeat(Repeat::Infinite)?;
    let mut shown: Option<Vec<u8>> = None;
    for moment in 0..=moments {
        let step = (last as f64 * (moment as f64 / moments as f64).powi(2)).round() as u64;
        let next = palette.indices(&canvas(step));
        let mut frame = difference(shown.as_deref(), &next, background.width);
        frame.delay = if moment == moments { LAST_DELAY } else { DELAY };
        encoder.write_frame(&frame)?;
        shown = Some(next);
    }
    drop(encoder);
    Ok(file)
}

/// The smallest frame that makes `next` of what is shown.
fn difference(shown: Option<&[u8]>, next: &[u8], width: usize) -> Frame<'static> {
    let height = next.len() / width;
    let changed = |pixel: usize| shown.is_none_or(|shown| shown[pixel] != next[pixel]);
    let places = (0..next.len()).filter(|pixel| changed(*pixel));
    let (mut left, mut top, mut right, mut bottom) = (width, height, 0, 0);
    for (x, y) in places.map(|pixel| (pixel % width, pixel / width)) {
        (left, top) = (left.min(x), top.min(y));
        (right, bottom) = (right.max(x + 1), bottom.max(y + 1));
    }
    if right == 0 {
        // Nothing changed; a frame has at least a pixel.
        (left, top, right, bottom) = (0, 0, 1, 1);
    }
    let index = |pixel: usize| if changed(pixel) { next[pixel] } else { UNCHANGED };
    let buffer: Vec<u8> =
        (top..bottom).flat_map(|y| (left..right).map(move |x| y * width + x)).map(index).collect();
    Frame {
        left: left as u16,
        top: top as u16,
        width: (right - left) as u16,
        height: (bottom - top) as u16,
        dispose: DisposalMethod::Keep,
        transparent: Some(UNCHANGED),
        buffer: buffer.into(),
        ..Frame::default()
    }
}

/// The commonest colours of a picture, and which of them is nearest to a colour.
struct Palette {
    colours: Vec<Colour>,
    nearest: HashMap<Colour, u8>,
}

impl Palette {
    fn of(canvas: &Canvas) -> Self {
        let mut counts: HashMap<Colour, usize> = HashMap::new();
        for colour in &canvas.pixels {
            *counts.entry(*colour).or_default() += 1;
        }
        let mut colours: Vec<(Colour, usize)> = counts.into_iter().collect();
        // The colour itself decides between equals, so that the same race makes the same file.
        colours.sort_by_key(|(colour, count)| (std::cmp::Reverse(*count), *colour));
        let colours = colours.into_iter().map(|(colour, _)| colour).take(COLOURS).collect();
        Palette { colours, nearest: HashMap::new() }
    }

    fn bytes(&self) -> Vec<u8> {
        self.colours.iter().flat_map(|Colour(red, green, blue)| [*red, *green, *blue]).collect()
    }

    fn indices(&mut self, canvas: &Canvas) -> Vec<u8> {
        let Palette { colours, nearest } = self;
        let distance = |a: Colour, b: Colour| {
            let square = |a: u8, b: u8| (i32::from(a) - i32::from(b)).pow(2);
            square(a.0, b.0) + square(a.1, b.1) + square(a.2, b.2)
        };
        let find = |colour: Colour| {
            let place = (0..colours.len()).min_by_key(|place| distance(colours[*place], colour));
            place.unwrap_or(0) as u8
        };
        let pixels = canvas.pixels.iter();
        pixels.map(|colour| *nearest.entry(*colour).or_insert_with(|| find(*colour))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::landscape::Path;
    use super::*;

    #[test]
    fn frames_make_each_moment_of_the_one_before() {
        let width = 4;
        let moments: [[u8; 8]; 4] = [
            [0, 1, 2, 3, 0, 1, 2, 3],
            [0, 1, 2, 3, 0, 9, 2, 3],
            [0, 1, 2, 3, 0, 9, 2, 3],
            [0, 7, 2, 8, 0, 9, 2, 3],
        ];
        let mut shown: Option<Vec<u8>> = None;
        let mut sizes = Vec::new();
        for next in moments {
            let frame = difference(shown.as_deref(), &next, width);
            let mut made = shown.unwrap_or(vec![0; 8]);
            for (place, index) in frame.buffer.iter().enumerate().filter(|(_, index)| **index != UNCHANGED) {
                let (x, y) = (place % usize::from(frame.width), place / usize::from(frame.width));
                made[(usize::from(frame.top) + y) * width + usize::from(frame.left) + x] = *index;
            }
            assert_eq!(made, next);
            sizes.push((frame.width, frame.height));
            shown = Some(made);
        }
        assert_eq!(sizes, [(4, 2), (1, 1), (1, 1), (3, 1)]);
    }

    #[test]
    fn a_file_has_every_moment_and_waits_at_its_end() {
        let points =
            (0..=20).map(|step| (step, 400.0 - step as f64, [step as f64, 0.5 * step as f64])).collect();
        let path = Path { name: "sgd".to_owned(), points };
        let map =
            Landscape::new("", ["x", "y"].map(str::to_owned), |[x, y]| x * x + y, vec![path], (200, 160));
        let file = gif(&map).unwrap();
        assert!(file == gif(&map).unwrap(), "the same race makes the same file");
        let mut decoder = gif::DecodeOptions::new().read_info(file.as_slice()).unwrap();
        assert_eq!((decoder.width(), decoder.height()), (200, 160));
        let mut delays = Vec::new();
        while let Some(frame) = decoder.read_next_frame().unwrap() {
            delays.push(frame.delay);
        }
        assert_eq!(delays.len(), 21);
        assert_eq!((delays[19], delays[20]), (DELAY, LAST_DELAY));
    }
}
