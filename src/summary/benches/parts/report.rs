//! The table: every number with what it must and should be.

struct Line {
    name: String,
    value: f64,
    unit: &'static str,
    must: Option<f64>,
    aim: Option<f64>,
    holds: Option<bool>,
}

pub struct Report {
    json: bool,
    lines: Vec<Line>,
}

impl Report {
    pub fn new(json: bool) -> Self {
        Self {
            json,
            lines: Vec::new(),
        }
    }

    pub fn at_most(&mut self, name: &str, value: f64, unit: &'static str, must: f64, aim: f64) {
        self.add(name, value, unit, Some((must, aim)), value <= must);
    }

    pub fn at_least(&mut self, name: &str, value: f64, unit: &'static str, must: f64, aim: f64) {
        self.add(name, value, unit, Some((must, aim)), value >= must);
    }

    /// A number for comparison.
    pub fn note(&mut self, name: &str, value: f64, unit: &'static str) {
        self.add(name, value, unit, None, true);
    }

    fn add(
        &mut self,
        name: &str,
        value: f64,
        unit: &'static str,
        limits: Option<(f64, f64)>,
        holds: bool,
    ) {
        self.lines.push(Line {
            name: name.into(),
            value,
            unit,
            must: limits.map(|(must, _)| must),
            aim: limits.map(|(_, aim)| aim),
            holds: limits.map(|_| holds),
        });
    }

    pub fn print(&self) {
        if !self.json {
            println!(
                "{:<56} {:>10} {:<6} {:>6} {:>6}",
                "", "measured", "", "must", "aim"
            );
        }
        for line in &self.lines {
            self.print_line(line);
        }
    }

    fn print_line(&self, line: &Line) {
        let or_null = |number: Option<f64>| number.map_or("null".into(), |it| it.to_string());
        if self.json {
            println!(
                "{{\"name\":\"{}\",\"value\":{:.4},\"unit\":\"{}\",\"must\":{},\"aim\":{},\"holds\":{}}}",
                line.name,
                line.value,
                line.unit,
                or_null(line.must),
                or_null(line.aim),
                line.holds.map_or("null".into(), |holds| holds.to_string()),
            );
            return;
        }
        let or_blank = |number: Option<f64>| number.map_or(String::new(), |it| it.to_string());
        println!(
            "{:<56} {:>10.3} {:<6} {:>6} {:>6} {}",
            line.name,
            line.value,
            line.unit,
            or_blank(line.must),
            or_blank(line.aim),
            match line.holds {
                Some(true) => "holds",
                Some(false) => "MISSED",
                None => "",
            },
        );
    }
}
