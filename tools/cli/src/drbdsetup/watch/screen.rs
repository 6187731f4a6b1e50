// SPDX-License-Identifier: GPL-2.0-only

//! The screen of `status --watch`: rows of text and bars, cut to the terminal, which is left as it was found.

use std::io::{self, BufWriter, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::buffer::{Buffer, Cell};
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    disable_raw_mode, enable_raw_mode, EnterAlternateScreen, LeaveAlternateScreen,
};
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Gauge, Paragraph, Widget as _, Wrap};
use rustix::process::getpgrp;
use rustix::termios::{tcgetpgrp, tcgetwinsize};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// No bar is shorter; what stands behind it goes below it then.
const BAR_LEAST: u16 = 10;
const BAR_MOST: u16 = 40;
/// No text that is shown takes more rows.
const HIGHEST: u16 = 8;
/// How soon a key or a signal is noticed.
const STEP: Duration = Duration::from_millis(100);

/// What stands in the screen below each other.
#[derive(Clone, Debug, PartialEq)]
pub enum Row {
    /// Text, which is wrapped.
    Text(Line<'static>),
    /// How far something is.
    Bar {
        /// In front of the bar.
        name: String,
        /// From 0 to 1.
        done: f64,
        /// Behind the bar.
        figures: String,
        /// Of the part that is done.
        style: Style,
    },
}

impl Row {
    /// Plain text.
    pub fn plain(text: impl Into<String>) -> Self {
        Row::Text(Line::raw(text.into()))
    }

    /// A stretch of text in the colour that an SGR sequence with these parameters brings.
    pub fn span(text: String, paint: &str) -> Span<'static> {
        let styled = Span::raw(text);
        paint.split(';').fold(styled, |span, word| match word {
            "1" => span.add_modifier(Modifier::BOLD),
            "31" => span.red(),
            "32" => span.green(),
            "36" => span.cyan(),
            _ => span,
        })
    }

    /// What stands beside the bar takes so many columns: in front, behind.
    fn beside(name: &str, figures: &str) -> [u16; 2] {
        // A bracket and blanks.
        let columns = |text: &str| u16::try_from(text.chars().count() + 2).unwrap_or(u16::MAX);
        [columns(name), columns(figures)]
    }

    fn height(&self, width: u16) -> u16 {
        match self {
            Row::Text(line) => {
                let mut draft = Buffer::empty(Rect::new(0, 0, width, HIGHEST));
                Self::paragraph(line).render(draft.area, &mut draft);
                let used = |y: &u16| (0..width).any(|x| draft[(x, *y)].symbol() != " ");
                (0..HIGHEST).rev().find(used).map_or(1, |last| last + 1)
            }
            Row::Bar { name, figures, .. } => {
                let [front, behind] = Self::beside(name, figures);
                let room = width.saturating_sub(front).saturating_sub(behind);
                1 + u16::from(room < BAR_LEAST)
            }
        }
    }

    fn paragraph<'a>(line: &Line<'a>) -> Paragraph<'a> {
        Paragraph::new(line.clone()).wrap(Wrap { trim: false })
    }

    fn draw(&self, area: Rect, buffer: &mut Buffer, blocks: bool) {
        let (name, done, figures, style) = match self {
            Row::Text(line) => return Self::paragraph(line).render(area, buffer),
            Row::Bar {
                name,
                done,
                figures,
                style,
            } => (name, *done, figures, *style),
        };
        let [front, behind] = Self::beside(name, figures);
        let behind = if area.height > 1 { 1 } else { behind };
        let room = area.width.saturating_sub(front).saturating_sub(behind);
        let bar = Rect {
            x: area.x + front,
            width: room.min(BAR_MOST),
            height: 1,
            ..area
        }
        .intersection(area);
        put(buffer, area.x, area.y, &format!("{name} ["));
        Gauge::default()
            .gauge_style(style)
            .use_unicode(blocks)
            .label("")
            .ratio(done.clamp(0.0, 1.0))
            .render(bar, buffer);
        if !blocks {
            for x in bar.left()..bar.right() {
                match &mut buffer[(x, bar.y)] {
                    cell if cell.symbol() == " " => cell.set_style(Style::reset()).set_symbol("."),
                    cell => cell.set_symbol("="),
                };
            }
        }
        if area.height > 1 {
            let indent = name.chars().take_while(|c| *c == ' ').count() + 2;
            put(buffer, bar.right(), bar.y, "]");
            let below = format!("{}{figures}", " ".repeat(indent));
            put(buffer, area.x, area.y + 1, &below);
        } else {
            put(buffer, bar.right(), bar.y, &format!("] {figures}"));
        }
    }
}

/// As much of a text as there is room for.
fn put(buffer: &mut Buffer, x: u16, y: u16, text: &str) {
    let area = buffer.area;
    if x < area.right() && y < area.bottom() {
        let left = usize::from(area.right() - x);
        buffer.set_stringn(x, y, text, left, Style::new());
    }
}

/// As many rows as fit, and how many do not.
pub fn draw(rows: &[Row], buffer: &mut Buffer, blocks: bool) {
    let area = buffer.area;
    let heights: Vec<u16> = rows.iter().map(|row| row.height(area.width)).collect();
    let whole: u16 = heights
        .iter()
        .fold(0, |sum, height| sum.saturating_add(*height));
    // The last line says how much is missing.
    let room = if whole > area.height {
        area.height.saturating_sub(1)
    } else {
        area.height
    };
    let mut y = 0;
    for (row, height) in rows.iter().zip(heights) {
        if y + height > room {
            let more = whole - y;
            let rest =
                format!("... {more} more lines: name a resource, or make the terminal higher");
            put(buffer, area.x, area.y + y, &rest);
            return;
        }
        let place = Rect {
            y: area.y + y,
            height,
            ..area
        };
        row.draw(place, buffer, blocks);
        y += height;
    }
}

/// Puts all of a screen on a terminal: whatever was there is drawn over.
pub fn show<B: Backend>(backend: &mut B, buffer: &Buffer) -> io::Result<()> {
    let before = Buffer::filled(buffer.area, Cell::new("\0"));
    backend.draw(before.diff(buffer).into_iter())?;
    backend.flush()
}

/// Columns and rows of the terminal; what a terminal has that does not say it.
fn size() -> (u16, u16) {
    match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_col, size.ws_row),
        _ => (80, 24),
    }
}

/// Whether keys are for this program: a terminal stops who touches it from the background.
fn in_foreground() -> bool {
    tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp())
}

/// Whether the terminal shows more than ASCII.
fn knows_blocks() -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter();
    let locale = set.filter_map(|name| std::env::var(name).ok());
    let locale = locale.into_iter().find(|value| !value.is_empty());
    let locale = locale.unwrap_or_default().to_ascii_lowercase();
    locale.ends_with("utf-8") || locale.ends_with("utf8")
}

/// A terminal that shows a screen until this is dropped.
pub struct Screen {
    backend: CrosstermBackend<BufWriter<io::Stdout>>,
    /// Keys are read; the terminal is raw.
    keys: bool,
    /// A terminal without a cursor that can be moved, and what it was shown.
    dumb: Option<String>,
    blocks: bool,
    /// A signal came that ends programs.
    ended: Arc<AtomicBool>,
}

impl Screen {
    pub fn new() -> io::Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, ended.clone())?;
        }
        let term = std::env::var("TERM").unwrap_or_default();
        let dumb = ["", "dumb"].contains(&term.as_str());
        let mut screen = Self {
            backend: CrosstermBackend::new(BufWriter::new(io::stdout())),
            keys: false,
            dumb: dumb.then(String::new),
            blocks: !dumb && knows_blocks(),
            ended,
        };
        if !dumb {
            execute!(screen.backend, EnterAlternateScreen, Hide)?;
            if in_foreground() {
                screen.keys = true;
                enable_raw_mode()?;
            }
        }
        Ok(screen)
    }

    /// Shows rows in place of those before.
    pub fn show(&mut self, rows: &[Row]) -> io::Result<()> {
        let (columns, lines) = size();
        let Some(before) = &mut self.dumb else {
            let mut buffer = Buffer::empty(Rect::new(0, 0, columns, lines));
            draw(rows, &mut buffer, self.blocks);
            return show(&mut self.backend, &buffer);
        };
        // It scrolls: all fits, and what has not changed is not said again.
        let mut buffer = Buffer::empty(Rect::new(0, 0, columns, 1000));
        draw(rows, &mut buffer, false);
        let text = text_of(&buffer);
        if text != *before {
            self.backend.write_all(text.as_bytes())?;
            Backend::flush(&mut self.backend)?;
            *before = text;
        }
        Ok(())
    }

    /// Waits until it is time to draw again; false: the person, or a signal, ends it.
    pub fn wait(&mut self, limit: Duration) -> io::Result<bool> {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            if self.ended.load(Ordering::Relaxed) {
                return Ok(false);
            }
            if !self.keys {
                std::thread::sleep(STEP);
                continue;
            }
            if !event::poll(STEP)? {
                continue;
            }
            match event::read()? {
                Event::Key(key) => {
                    let control = key.modifiers.contains(KeyModifiers::CONTROL);
                    match key.code {
                        KeyCode::Char('c') if control => return Ok(false),
                        KeyCode::Char('q' | 'Q') | KeyCode::Esc => return Ok(false),
                        _ => {}
                    }
                }
                Event::Resize(..) => return Ok(true),
                _ => {}
            }
        }
        Ok(true)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that went away needs nothing.
        if self.keys {
            let _ = disable_raw_mode();
        }
        if self.dumb.is_none() {
            let _ = execute!(self.backend, LeaveAlternateScreen, Show);
        }
    }
}

/// The lines of a screen, without what is blank at their ends and below them.
fn text_of(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width).max(1);
    let lines = buffer.content.chunks(width).map(|cells| {
        let line: String = cells.iter().map(Cell::symbol).collect();
        line.trim_end().to_owned()
    });
    let lines: Vec<String> = lines.collect();
    lines.join("\n").trim_end().to_owned() + "\n"
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use ratatui::backend::TestBackend;

    fn bar(done: f64, figures: &str) -> Row {
        Row::Bar {
            name: "  volume 0:".into(),
            done,
            figures: figures.into(),
            style: Style::new(),
        }
    }

    /// What a terminal of that size shows.
    pub fn shown(rows: &[Row], columns: u16, lines: u16, blocks: bool) -> String {
        let mut backend = TestBackend::new(columns, lines);
        let mut buffer = Buffer::empty(Rect::new(0, 0, columns, lines));
        draw(rows, &mut buffer, blocks);
        show(&mut backend, &buffer).unwrap();
        text_of(backend.buffer())
    }

    #[test]
    fn a_bar_fits_between_what_stands_beside_it() {
        let figures = "50.00%, 1 MiB left";
        let bars = format!("[{}{}]", "=".repeat(13), ".".repeat(14));
        assert_eq!(
            shown(&[bar(0.5, figures)], 60, 3, false),
            format!("  volume 0: {bars} 50.00%, 1 MiB left\n")
        );
        let wide = shown(&[bar(0.5, figures)], 200, 3, false);
        let most = format!("[{}{}]", "=".repeat(20), ".".repeat(20));
        assert!(wide.contains(&most), "{wide}");
        let blocks = shown(&[bar(0.5, figures)], 200, 3, true);
        assert!(blocks.contains(&"\u{2588}".repeat(20)), "{blocks}");
        let narrow = shown(&[bar(0.0, figures)], 36, 3, false);
        let lines: Vec<&str> = narrow.lines().collect();
        assert!(
            lines[0].starts_with("  volume 0: [....") && lines[0].ends_with(".]"),
            "{narrow}"
        );
        assert_eq!(lines[1], "    50.00%, 1 MiB left");
    }

    #[test]
    fn text_is_wrapped_and_keeps_its_place() {
        let rows = [Row::plain("  ! one two three"), Row::plain("next")];
        assert_eq!(shown(&rows, 12, 5, false), "  ! one two\nthree\nnext\n");
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let rows: Vec<Row> = ["a", "b", "c", "d"].map(Row::plain).into();
        assert_eq!(shown(&rows, 80, 4, false), "a\nb\nc\nd\n");
        let cut = shown(&rows, 80, 3, false);
        assert!(cut.starts_with("a\nb\n... 2 more lines: name"), "{cut}");
        for lines in 0..3 {
            for columns in 0..30 {
                let mut buffer = Buffer::empty(Rect::new(0, 0, columns, lines));
                draw(&[bar(0.3, "30%"), Row::plain("x y z")], &mut buffer, true);
            }
        }
    }
}
