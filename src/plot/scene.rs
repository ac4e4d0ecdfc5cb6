//! A picture as a list of shapes in pixels, drawn as SVG here and as pixels in [`canvas`](super::canvas).

use std::fmt::Write as _;

/// A place: pixels from the left and from the top, or coordinates of what is shown.
pub(crate) type Point = [f64; 2];

/// Red, green and blue.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Colour(pub u8, pub u8, pub u8);

impl Colour {
    pub const WHITE: Colour = Colour(255, 255, 255);
    pub const BLACK: Colour = Colour(30, 30, 30);
    pub const GREY: Colour = Colour(120, 120, 120);
    pub const PALE: Colour = Colour(228, 228, 228);

    /// The colour on the straight way to `other`, at 0 this one and at 1 the other.
    pub fn towards(self, other: Colour, part: f64) -> Colour {
        let mix =
            |from: u8, to: u8| (f64::from(from) + (f64::from(to) - f64::from(from)) * part).round() as u8;
        Colour(mix(self.0, other.0), mix(self.1, other.1), mix(self.2, other.2))
    }
}

/// How a line is drawn.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Stroke {
    pub colour: Colour,
    pub width: f64,
    /// Lengths of a dash and of the gap after it; none for an unbroken line.
    pub dash: Option<[f64; 2]>,
}

/// Where a text stands about its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Shape {
    /// What an odd number of the closed rings is around, and a line along them.
    Area {
        rings: Vec<Vec<Point>>,
        fill: Colour,
        outline: Option<Stroke>,
    },
    Line {
        points: Vec<Point>,
        stroke: Stroke,
    },
    Disc {
        centre: Point,
        radius: f64,
        fill: Colour,
    },
    /// A line of text; `at` is on its baseline. `upwards`: turned a quarter to the left.
    Text {
        at: Point,
        text: String,
        anchor: Anchor,
        size: f64,
        colour: Colour,
        upwards: bool,
    },
}

/// Shapes on white, the later above the earlier.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Scene {
    pub width: u32,
    pub height: u32,
    pub shapes: Vec<Shape>,
}

impl Scene {
    pub fn new(width: u32, height: u32) -> Self {
        Scene { width, height, shapes: Vec::new() }
    }

    pub fn line(&mut self, points: Vec<Point>, colour: Colour, width: f64) {
        self.shapes.push(Shape::Line { points, stroke: Stroke { colour, width, dash: None } });
    }

    /// A disc with a rim of white, which stands out from the lines below it.
    pub fn dot(&mut self, centre: Point, radius: f64, fill: Colour) {
        self.shapes.push(Shape::Disc { centre, radius: radius + 1.5, fill: Colour::WHITE });
        self.shapes.push(Shape::Disc { centre, radius, fill });
    }

    pub fn text(&mut self, at: Point, text: &str, anchor: Anchor, size: f64) {
        let (text, colour) = (text.to_owned(), Colour::BLACK);
        self.shapes.push(Shape::Text { at, text, anchor, size, colour, upwards: false });
    }

    /// The picture as an SVG file; equal scenes give equal bytes.
    pub fn to_svg(&self) -> String {
        let (width, height) = (self.width, self.height);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
        );
        for shape in &self.shapes {
            // Writing to a string cannot fail.
            let _ = write_shape(&mut svg, shape);
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn write_shape(svg: &mut String, shape: &Shape) -> std::fmt::Result {
    match shape {
        Shape::Area { rings, fill, outline } => {
            let data: String = rings.iter().map(|ring| format!("M{}Z", coordinates(ring))).collect();
            let outline = outline.map_or(String::new(), |stroke| format!(" {}", stroked(stroke)));
            writeln!(svg, r#"<path d="{data}" fill="{}" fill-rule="evenodd"{outline}/>"#, hex(*fill))
        }
        Shape::Line { points, stroke } => {
            writeln!(svg, r#"<polyline points="{}" fill="none" {}/>"#, coordinates(points), stroked(*stroke))
        }
        Shape::Disc { centre: [x, y], radius, fill } => {
            writeln!(svg, r#"<circle cx="{x:.1}" cy="{y:.1}" r="{radius}" fill="{}"/>"#, hex(*fill))
        }
        Shape::Text { at: [x, y], text, anchor, size, colour, upwards } => {
            let anchor = match anchor {
                Anchor::Start => "start",
                Anchor::Middle => "middle",
                Anchor::End => "end",
            };
            let turn =
                if *upwards { format!(r#" transform="rotate(-90 {x:.1} {y:.1})""#) } else { String::new() };
            writeln!(
                svg,
                r#"<text x="{x:.1}" y="{y:.1}" font-size="{size}" text-anchor="{anchor}" fill="{}"{turn}>{}</text>"#,
                hex(*colour),
                escaped(text)
            )
        }
    }
}

/// How a line is drawn, as attributes.
fn stroked(Stroke { colour, width, dash }: Stroke) -> String {
    let dash = dash.map_or(String::new(), |[dash, gap]| format!(r#" stroke-dasharray="{dash} {gap}""#));
    format!(
        r#"stroke="{}" stroke-width="{width}" stroke-linejoin="round" stroke-linecap="round"{dash}"#,
        hex(colour)
    )
}

/// Points as SVG lists them, to a tenth of a pixel.
fn coordinates(points: &[Point]) -> String {
    let point = |[x, y]: &Point| format!("{x:.1},{y:.1}");
    points.iter().map(point).collect::<Vec<_>>().join(" ")
}

fn hex(Colour(red, green, blue): Colour) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}

/// Text as XML takes it; control characters have no form there.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars().filter(|letter| !letter.is_control()) {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_written_as_svg_has_them() {
        let stroke = Stroke { colour: Colour(1, 2, 255), width: 2.0, dash: Some([6.0, 4.0]) };
        let text = |upwards| Shape::Text {
            at: [1.0, 2.0],
            text: "a<b & c>d\n".to_owned(),
            anchor: Anchor::Middle,
            size: 12.0,
            colour: Colour::WHITE,
            upwards,
        };
        let ring = vec![[0.0, 0.0], [1.25, 0.0], [0.0, 1.0]];
        let rows = [
            (
                Shape::Area { rings: vec![ring.clone(); 2], fill: Colour::WHITE, outline: None },
                r#"d="M0.0,0.0 1.2,0.0 0.0,1.0ZM0.0"#,
            ),
            (Shape::Line { points: ring, stroke }, r##"stroke="#0102FF" stroke-width="2""##),
            (Shape::Line { points: vec![[0.0; 2]; 2], stroke }, r#"stroke-dasharray="6 4""#),
            (
                Shape::Disc { centre: [1.0, 2.0], radius: 3.5, fill: Colour::WHITE },
                r#"cx="1.0" cy="2.0" r="3.5""#,
            ),
            (text(false), ">a&lt;b &amp; c&gt;d</text>"),
            (text(true), "rotate(-90 1.0 2.0)"),
        ];
        for (shape, fragment) in rows {
            let svg = Scene { width: 10, height: 10, shapes: vec![shape] }.to_svg();
            assert!(svg.contains(fragment), "`{fragment}` is not in {svg}");
        }
    }
}
