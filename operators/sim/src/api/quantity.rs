//! Quantities in the form in which Kubernetes writes them: the shortest with the same kind of suffix.

/// `1000m` is `1`, `1024Mi` is `1Gi`, `0.5` is `500m`. None for what is no quantity, or one with an exponent.
pub(super) fn canonical(text: &str) -> Option<String> {
    const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let split = digits
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(digits.len());
    let (number, suffix) = digits.split_at(split);
    let nano = nano(number)?;
    let written = if let Some(power) = BINARY.iter().position(|it| !it.is_empty() && *it == suffix) {
        let nano = nano.checked_mul(1024_i128.checked_pow(u32::try_from(power).ok()?)?)?;
        // A part of a byte is rounded up.
        let mut bytes = nano / NANO + i128::from(nano % NANO != 0);
        let mut power = 0;
        while bytes != 0 && bytes % 1024 == 0 && power + 1 < BINARY.len() {
            bytes /= 1024;
            power += 1;
        }
        format!("{bytes}{}", BINARY[power])
    } else {
        let power = DECIMAL.iter().position(|it| *it == suffix)?;
        let factor = 1000_i128.checked_pow(u32::try_from(power).ok()?)?;
        let mut value = nano.checked_mul(factor)? / NANO;
        let mut power = 0;
        while value != 0 && value % 1000 == 0 && power + 1 < DECIMAL.len() {
            value /= 1000;
            power += 1;
        }
        if value == 0 {
            "0".into()
        } else {
            format!("{value}{}", DECIMAL[power])
        }
    };
    Some(if negative && written != "0" {
        format!("-{written}")
    } else {
        written
    })
}

const NANO: i128 = 1_000_000_000;

/// A decimal number in billionths.
fn nano(number: &str) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || whole.len() > 18 || fraction.len() > 9 {
        return None;
    }
    format!("{whole}{fraction:0<9}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::canonical;
    use rstest::rstest;

    #[rstest]
    #[case("1000m", Some("1"))]
    #[case("1500m", Some("1500m"))]
    #[case("0.5", Some("500m"))]
    #[case("2000", Some("2k"))]
    #[case("1024Mi", Some("1Gi"))]
    #[case("0.5Gi", Some("512Mi"))]
    #[case("512", Some("512"))]
    #[case("0", Some("0"))]
    #[case("-1000m", Some("-1"))]
    #[case("100n", Some("100n"))]
    #[case("Gi", None)]
    #[case("1e3", None)]
    fn quantities_are_written_short(#[case] text: &str, #[case] short: Option<&str>) {
        assert_eq!(canonical(text).as_deref(), short);
    }
}
