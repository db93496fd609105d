use super::{check::Check, reader::Reader};

/// How the pages look. What is not set is as this crate has it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Theme {
    /// The colours on a light ground.
    pub light: Palette,
    /// The colours on a dark ground, for humans who prefer that.
    pub dark: Palette,
    /// Font families as in CSS, such as `Inter, sans-serif`. The pages load no font: it must be on the human's computer.
    pub font: Option<String>,
    /// The radius of the largest corners, in CSS pixels: 0 to 32. Smaller ones follow. Default: 20.
    pub radius: Option<u32>,
}

/// The colours of a theme, each as `#rrggbb`. Further ones, such as those of lines and buttons, are mixed from them.
///
/// Text must have a contrast of 4.5 with what it stands on, and the edges of controls one of 3 (WCAG 2.2 sections 1.4.3
/// and 1.4.11). A configuration with less is refused.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Palette {
    /// The ground of the page.
    pub ground: Option<String>,
    /// The paper that stands on it.
    pub paper: Option<String>,
    /// Text.
    pub ink: Option<String>,
    /// Text that matters less.
    pub soft: Option<String>,
    /// Links, the Approve button and what is chosen.
    pub accent: Option<String>,
    /// Warnings.
    pub care: Option<String>,
    /// What ends or refuses.
    pub stop: Option<String>,
}

type Rgb = [u8; 3];

/// The colours of a scheme, in the order of [`NAMES`].
type Colours = [Rgb; 7];

const NAMES: [&str; 7] = ["ground", "paper", "ink", "soft", "accent", "care", "stop"];
/// The same colours as in `style.css`.
const LIGHT: Colours = [
    [0xee, 0xf1, 0xed],
    [0xff, 0xff, 0xff],
    [0x14, 0x20, 0x1b],
    [0x51, 0x60, 0x5a],
    [0x0d, 0x61, 0x49],
    [0x73, 0x43, 0x00],
    [0xa3, 0x28, 0x1d],
];
const DARK: Colours = [
    [0x0d, 0x13, 0x11],
    [0x16, 0x1e, 0x1b],
    [0xe8, 0xef, 0xeb],
    [0xa2, 0xb1, 0xaa],
    [0x79, 0xd7, 0xb0],
    [0xf5, 0xca, 0x7b],
    [0xff, 0x9f, 0x92],
];

impl Theme {
    pub(super) fn read(&mut self, reader: &mut Reader<'_>) {
        self.font = reader.string("font");
        self.radius = reader.number("radius");
        for (name, palette) in [("light", &mut self.light), ("dark", &mut self.dark)] {
            reader.table(name, |colours| {
                for (name, colour) in NAMES.into_iter().zip(palette.all_mut()) {
                    *colour = colours.string(name);
                }
            });
        }
    }

    pub(super) fn check(&self, check: &mut Check) {
        let plain = |character: char| character.is_ascii_alphanumeric() || " ,-\"'".contains(character);
        let is_open = |font: &str| ['"', '\''].iter().any(|quote| font.matches(*quote).count() % 2 == 1);
        let is_bad = |font: &&String| font.len() > 200 || !font.chars().all(plain) || is_open(font);
        if let Some(font) = self.font.as_ref().filter(is_bad) {
            check.note(
                "theme.font",
                font,
                "must be names of font families, separated by commas: letters, digits and -",
            );
        }
        if let Some(radius) = self.radius.filter(|radius| *radius > 32) {
            check.note("theme.radius", radius, "must be 0 to 32, in CSS pixels");
        }
        for (scheme, palette, ours) in self.schemes() {
            let path = |name: &str| format!("theme.{scheme}.{name}");
            let mut is_readable = true;
            for (name, colour) in NAMES.into_iter().zip(palette.all()) {
                if let Some(colour) = colour.as_ref().filter(|colour| parse(colour).is_none()) {
                    check.note(path(name), colour, "must be a colour such as \"#0d6149\"");
                    is_readable = false;
                }
            }
            if !is_readable || palette.is_empty() {
                continue;
            }
            let mixed = Mixed::of(palette.over(ours));
            for (name, colour, on, beneath, least) in mixed.pairs() {
                let contrast = contrast(colour, beneath);
                if contrast < least {
                    let remedy = format!(
                        "has a contrast of {contrast:.1} with {on} {}; it must be at least {least} (WCAG 2.2): choose a darker or lighter one",
                        hex(beneath)
                    );
                    check.note(path(name), hex(colour), remedy);
                }
            }
        }
    }

    /// The theme as CSS. Empty if nothing is set.
    #[cfg_attr(not(feature = "pages"), expect(dead_code, reason = "only pages have a theme"))]
    pub(crate) fn to_css(&self) -> String {
        let font = self.font.as_ref().map(|font| format!("--sans: {font};")).unwrap_or_default();
        let radius = self.radius.map(|radius| format!("--radius: {radius}px;")).unwrap_or_default();
        let mut css = String::new();
        if !(font.is_empty() && radius.is_empty()) {
            css.push_str(&format!(":root {{ {font}{radius} }}\n"));
        }
        for (scheme, palette, ours) in self.schemes().into_iter().filter(|(_, palette, _)| !palette.is_empty()) {
            let variables = Mixed::of(palette.over(ours)).to_css();
            css.push_str(&format!("@media (prefers-color-scheme: {scheme}) {{ :root {{ {variables} }} }}\n"));
        }
        css
    }

    fn schemes(&self) -> [(&'static str, &Palette, Colours); 2] {
        [("light", &self.light, LIGHT), ("dark", &self.dark, DARK)]
    }
}

impl Palette {
    fn all(&self) -> [&Option<String>; 7] {
        [&self.ground, &self.paper, &self.ink, &self.soft, &self.accent, &self.care, &self.stop]
    }

    fn all_mut(&mut self) -> [&mut Option<String>; 7] {
        let Self { ground, paper, ink, soft, accent, care, stop } = self;
        [ground, paper, ink, soft, accent, care, stop]
    }

    fn is_empty(&self) -> bool {
        self.all().iter().all(|colour| colour.is_none())
    }

    /// These colours, and `ours` where one is not set.
    fn over(&self, ours: Colours) -> Colours {
        let mut colours = ours;
        for (colour, own) in colours.iter_mut().zip(self.all()) {
            *colour = own.as_deref().and_then(parse).unwrap_or(*colour);
        }
        colours
    }
}

/// The colours of a scheme, and those that are mixed from them.
struct Mixed {
    colours: Colours,
    stub: Rgb,
    line: Rgb,
    edge: Rgb,
    accent_deep: Rgb,
    on_accent: Rgb,
    accent_wash: Rgb,
    care_wash: Rgb,
    care_line: Rgb,
    stop_wash: Rgb,
}

impl Mixed {
    fn of(colours: Colours) -> Self {
        let [ground, paper, ink, _, accent, care, stop] = colours;
        let on_accent = [[0xff; 3], [0; 3]]
            .into_iter()
            .max_by(|one, other| contrast(*one, accent).total_cmp(&contrast(*other, accent)));
        Self {
            colours,
            stub: mix(ground, paper, 0.4),
            line: mix(ink, paper, 0.16),
            edge: mix(ink, paper, 0.55),
            accent_deep: mix(ink, accent, 0.3),
            on_accent: on_accent.unwrap_or([0xff; 3]),
            accent_wash: mix(accent, paper, 0.1),
            care_wash: mix(care, paper, 0.1),
            care_line: mix(care, paper, 0.45),
            stop_wash: mix(stop, paper, 0.1),
        }
    }

    /// What must differ: the name of a colour, the colour, what it stands on, that colour, and the least contrast.
    fn pairs(&self) -> [(&'static str, Rgb, &'static str, Rgb, f64); 16] {
        let [ground, paper, ink, soft, accent, care, stop] = self.colours;
        [
            ("ink", ink, "paper", paper, 4.5),
            ("ink", ink, "ground", ground, 4.5),
            ("ink", ink, "the washed accent", self.accent_wash, 4.5),
            ("ink", ink, "the washed care", self.care_wash, 4.5),
            ("ink", self.edge, "the edges of controls on paper", paper, 3.0),
            ("soft", soft, "paper", paper, 4.5),
            ("soft", soft, "ground", ground, 4.5),
            ("soft", soft, "the paper of decisions", self.stub, 4.5),
            ("soft", soft, "the washed accent", self.accent_wash, 4.5),
            ("accent", accent, "paper", paper, 4.5),
            ("accent", accent, "the paper of decisions", self.stub, 4.5),
            ("accent", self.accent_deep, "its wash", self.accent_wash, 4.5),
            ("care", care, "paper", paper, 4.5),
            ("care", care, "its wash", self.care_wash, 4.5),
            ("stop", stop, "paper", paper, 4.5),
            ("stop", stop, "its wash", self.stop_wash, 4.5),
        ]
    }

    fn to_css(&self) -> String {
        let [ground, paper, ink, soft, accent, care, stop] = self.colours;
        let all = [
            ("ground", ground),
            ("paper", paper),
            ("ink", ink),
            ("soft", soft),
            ("key", accent),
            ("care", care),
            ("stop", stop),
            ("stub", self.stub),
            ("line", self.line),
            ("edge", self.edge),
            ("key-deep", self.accent_deep),
            ("on-key", self.on_accent),
            ("key-wash", self.accent_wash),
            ("care-wash", self.care_wash),
            ("care-line", self.care_line),
            ("stop-wash", self.stop_wash),
        ];
        all.map(|(name, colour)| format!("--{name}: {};", hex(colour))).join(" ")
    }
}

fn parse(colour: &str) -> Option<Rgb> {
    let digits = colour.strip_prefix('#').filter(|digits| digits.len() == 6 && digits.is_ascii())?;
    let part = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).ok();
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    Some([part(0)?, part(2)?, part(4)?]).filter(|_| is_hex)
}

fn hex([red, green, blue]: Rgb) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// So much of `one` in `other`, by sRGB values.
fn mix(one: Rgb, other: Rgb, share: f64) -> Rgb {
    let mixed = |at: usize| f64::from(one[at]).mul_add(share, f64::from(other[at]) * (1.0 - share)).round();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between two bytes")]
    [mixed(0) as u8, mixed(1) as u8, mixed(2) as u8]
}

/// The contrast ratio of two colours (WCAG 2.2, "contrast ratio").
fn contrast(one: Rgb, other: Rgb) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

/// The relative luminance (WCAG 2.2, "relative luminance").
fn luminance(colour: Rgb) -> f64 {
    let [red, green, blue] = colour.map(|part| {
        let part = f64::from(part) / 255.0;
        if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
    });
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contrasts_are_those_of_the_guidelines() {
        assert!((contrast([0; 3], [255; 3]) - 21.0).abs() < 0.001);
        assert!((contrast([0x77; 3], [255; 3]) - 4.48).abs() < 0.01);
        assert!((contrast([10, 20, 30], [10, 20, 30]) - 1.0).abs() < 0.001);
    }

    #[test]
    fn our_own_colours_are_those_of_the_style_sheet_and_pass() {
        let style = include_str!("../pages/templates/style.css");
        let (light, dark) = style.split_once("prefers-color-scheme: dark").unwrap();
        for (scheme, part, colours) in [("light", light, LIGHT), ("dark", dark, DARK)] {
            for (name, colour) in NAMES.into_iter().zip(colours) {
                let name = if name == "accent" { "key" } else { name };
                let hex = hex(colour).replace("#ffffff", "#fff");
                assert!(part.contains(&format!("--{name}: {hex};")), "{scheme} {name} {hex}");
            }
            for (name, colour, on, beneath, least) in Mixed::of(colours).pairs() {
                assert!(contrast(colour, beneath) >= least, "{scheme} {name} on {on}: {}", contrast(colour, beneath));
            }
        }
    }

    #[test]
    fn only_colours_are_colours() {
        assert_eq!(parse("#0D6149"), Some([0x0d, 0x61, 0x49]));
        for text in ["", "#", "#fff", "0d6149", "#0d614g", "#+d6149", "#0d61490", "red", "#0d614é", "#fff;}*{"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn any_accent_has_a_readable_button() {
        for red in (0..=255).step_by(17) {
            for green in (0..=255).step_by(17) {
                for blue in (0..=255).step_by(17) {
                    let mut colours = LIGHT;
                    colours[4] = [red, green, blue];
                    let mixed = Mixed::of(colours);
                    assert!(contrast(mixed.on_accent, colours[4]) >= 4.5, "{}", hex(colours[4]));
                }
            }
        }
    }
}
