//! Line charts as SVG, for a page of any width.

use std::fmt::Write;

/// A line of a chart.
pub struct Series<'a> {
    /// What the legend calls it.
    pub name: &'a str,
    /// Points (x, y), in order of x.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 28.0;
/// Lines of the grid in each direction, less one.
const STEPS: u32 = 4;

/// An `svg` element with a line for each of `series` over a common grid. The classes `grid`, `line0`, `line1` and so on
/// are left to the page's style. Without a finite point it says that there is no data.
pub fn chart(series: &[Series<'_>]) -> String {
    let points = || series.iter().flat_map(|s| &s.points).copied().filter(|(_, y)| y.is_finite());
    let (Some(xs), Some(ys)) = (range(points().map(|p| p.0)), range(points().map(|p| p.1))) else {
        return "<p>No data.</p>".to_owned();
    };
    let x_at = |x: f64| LEFT + (x - xs.0) / (xs.1 - xs.0) * (WIDTH - LEFT - RIGHT);
    let y_at = |y: f64| HEIGHT - BOTTOM - (y - ys.0) / (ys.1 - ys.0) * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">");
    for i in 0..=STEPS {
        let part = f64::from(i) / f64::from(STEPS);
        let (x, y) = (xs.0 + part * (xs.1 - xs.0), ys.0 + part * (ys.1 - ys.0));
        let (left, low, right, bottom) = (x_at(x), y_at(y), WIDTH - RIGHT, HEIGHT - 8.0);
        append(&mut svg, format_args!("<path class=\"grid\" d=\"M{LEFT} {low:.1}H{right}\"/>"));
        append(
            &mut svg,
            format_args!(
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                low + 4.0,
                short(y)
            ),
        );
        let anchor = if i == STEPS { "end" } else { "middle" };
        append(
            &mut svg,
            format_args!("<text x=\"{left:.1}\" y=\"{bottom}\" text-anchor=\"{anchor}\">{}</text>", short(x)),
        );
    }
    for (index, Series { points, .. }) in series.iter().enumerate() {
        let line = points.iter().filter(|(_, y)| y.is_finite());
        let line: Vec<String> = line.map(|&(x, y)| format!("{:.1},{:.1}", x_at(x), y_at(y))).collect();
        append(&mut svg, format_args!("<polyline class=\"line{index}\" points=\"{}\"/>", line.join(" ")));
    }
    svg += "</svg>";
    if series.len() > 1 {
        svg += "<p class=\"legend\">";
        for (index, Series { name, .. }) in series.iter().enumerate() {
            append(&mut svg, format_args!("<span class=\"key{index}\">{name}</span> "));
        }
        svg += "</p>";
    }
    svg
}

/// Writing to a string does not fail.
fn append(text: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(what);
}

/// The least and the greatest value, apart from each other; `None` without a value.
fn range(values: impl Iterator<Item = f64> + Clone) -> Option<(f64, f64)> {
    let (low, high) = (values.clone().reduce(f64::min)?, values.reduce(f64::max)?);
    Some(if low < high { (low, high) } else { (low - 0.5, high + 0.5) })
}

/// A number with about three digits.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 0.01 => format!("{value:.1e}"),
        size if size < 100.0 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_span_the_grid() {
        let line = |points: &[(f64, f64)]| Series { name: "loss", points: points.to_vec() };
        let svg = chart(&[line(&[(0.0, 2.0), (5.0, f64::NAN), (10.0, 4.0)]), line(&[(10.0, 3.0)])]);
        assert!(svg.contains("class=\"line0\" points=\"64.0,212.0 708.0,12.0\""), "{svg}");
        assert!(svg.contains("class=\"line1\" points=\"708.0,112.0\""), "{svg}");
        assert!(svg.contains(">2.50</text>") && svg.contains("<span class=\"key1\">loss</span>"), "{svg}");
    }

    #[test]
    fn no_number_and_one_number_have_charts_too() {
        assert_eq!(chart(&[Series { name: "a", points: vec![(1.0, f64::NAN)] }]), "<p>No data.</p>");
        let svg = chart(&[Series { name: "a", points: vec![(3.0, 7.0)] }]);
        assert!(svg.contains("points=\"386.0,112.0\""), "{svg}");
    }
}
