//! Draw digits in a window while a network on the same GPU learns to read them.
//!
//! Left button: ink. Right button or C: a blank page. 0 to 9: what the drawing is, which the network then learns too. Escape: the
//! end. `paint [SECONDS [HISTOGRAM.svg]]` ends by itself after so many seconds, and draws how long frames took.

mod canvas;
mod frames;
mod learner;
mod picture;
mod window;

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use winit::application::ApplicationHandler;
use winit::event::{ElementState, MouseButton, StartCause, WindowEvent};
use winit::event_loop::{ActiveEventLoop, ControlFlow, EventLoop};
use winit::keyboard::{Key, NamedKey};
use winit::window::{Window, WindowId};

use canvas::Canvas;
use frames::Frames;
use window::View;

const FRAME: Duration = Duration::from_micros(16_667);

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

struct Paint {
    view: Option<View>,
    canvas: Canvas,
    frames: Frames,
    /// Whether the left button is down, and where the pointer was last.
    inks: bool,
    pointer: [f64; 2],
    next: Instant,
    ends: Option<Instant>,
    failed: Option<Box<dyn Error>>,
}

fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().map(|seconds| seconds.parse::<f64>()).transpose()?;
    let histogram = arguments.next();
    let now = Instant::now();
    let mut paint = Paint {
        view: None,
        canvas: Canvas::default(),
        frames: Frames::default(),
        inks: false,
        pointer: [0.0; 2],
        next: now,
        ends: seconds.map(|seconds| now + Duration::from_secs_f64(seconds)),
        failed: None,
    };
    EventLoop::new()?.run_app(&mut paint)?;
    if let Some(error) = paint.failed {
        return Err(error);
    }
    println!("{}", paint.frames);
    histogram.map_or(Ok(()), |path| paint.frames.draw(path.as_ref()))
}

impl ApplicationHandler for Paint {
    fn resumed(&mut self, event_loop: &ActiveEventLoop) {
        let size = winit::dpi::LogicalSize::new(window::WIDTH, window::HEIGHT);
        let attributes = Window::default_attributes().with_title("paint").with_inner_size(size);
        let opened = event_loop.create_window(attributes).map_err(Box::from);
        match opened.and_then(|window| View::open(Arc::new(window))) {
            Ok(view) => self.view = Some(view),
            Err(error) => self.fail(event_loop, error),
        }
        self.next = Instant::now();
    }

    fn new_events(&mut self, event_loop: &ActiveEventLoop, cause: StartCause) {
        let is_due = matches!(cause, StartCause::ResumeTimeReached { .. } | StartCause::Init);
        if let (true, Some(view)) = (is_due, &self.view) {
            view.window.request_redraw();
        }
        if self.ends.is_some_and(|end| Instant::now() >= end) {
            event_loop.exit();
        }
    }

    fn about_to_wait(&mut self, event_loop: &ActiveEventLoop) {
        event_loop.set_control_flow(ControlFlow::WaitUntil(self.next));
    }

    fn window_event(&mut self, event_loop: &ActiveEventLoop, _: WindowId, event: WindowEvent) {
        let Some(view) = &mut self.view else { return };
        match event {
            WindowEvent::CloseRequested => event_loop.exit(),
            WindowEvent::Resized(size) => view.resize(size.width, size.height),
            WindowEvent::CursorMoved { position, .. } => {
                let to = view.cell(position.x, position.y);
                if self.inks {
                    self.canvas.line(self.pointer, to);
                }
                self.pointer = to;
            }
            WindowEvent::MouseInput { state, button: MouseButton::Left, .. } => {
                self.inks = state == ElementState::Pressed;
                if self.inks {
                    self.canvas.line(self.pointer, self.pointer);
                }
            }
            WindowEvent::MouseInput { state: ElementState::Pressed, button: MouseButton::Right, .. } => {
                self.canvas = Canvas::default();
            }
            WindowEvent::KeyboardInput { event, .. } if event.state == ElementState::Pressed => {
                self.key(event_loop, &event.logical_key);
            }
            WindowEvent::RedrawRequested => self.frame(event_loop),
            _ => {}
        }
    }
}

impl Paint {
    fn key(&mut self, event_loop: &ActiveEventLoop, key: &Key) {
        let Some(view) = &mut self.view else { return };
        match key {
            Key::Named(NamedKey::Escape) => event_loop.exit(),
            Key::Character(text) if text.eq_ignore_ascii_case("c") => self.canvas = Canvas::default(),
            Key::Character(text) => {
                if let Some(digit) = text.parse().ok().filter(|digit| *digit < 10) {
                    let taught = view.learner.teach(self.canvas.pixels(), digit);
                    self.canvas = Canvas::default();
                    taught.unwrap_or_else(|error| self.fail(event_loop, error));
                }
            }
            _ => {}
        }
    }

    fn frame(&mut self, event_loop: &ActiveEventLoop) {
        let Some(view) = &mut self.view else { return };
        let began = Instant::now();
        if let Err(error) = view.frame(&self.canvas) {
            return self.fail(event_loop, error);
        }
        self.frames.add(began, began.elapsed());
        // A frame that was late is not made up for.
        self.next = (self.next + FRAME).max(Instant::now());
    }

    fn fail(&mut self, event_loop: &ActiveEventLoop, error: Box<dyn Error>) {
        self.failed = Some(error);
        event_loop.exit();
    }
}
