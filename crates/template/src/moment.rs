//! Go's layouts of time, in UTC: the reference time `Mon Jan 2 15:04:05 MST 2006` written in the wanted form.

use holdfast_base::Timestamp;

/// `time.RFC3339`.
pub(crate) const RFC3339: &str = "2006-01-02T15:04:05Z07:00";

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

struct Parts {
    year: i64,
    month: i64,
    day: i64,
    yearday: i64,
    weekday: &'static str,
    hour: i64,
    minute: i64,
    second: i64,
    nanosecond: i64,
}

/// Prints a time in a layout.
pub(crate) fn format(time: Timestamp, layout: &str) -> String {
    let parts = Parts::of(time);
    let mut out = String::with_capacity(layout.len() + 8);
    let mut rest = layout;
    while let Some(next) = rest.chars().next() {
        let length = match parts.element(rest, out.ends_with(|c: char| c.is_ascii_digit())) {
            Some((length, text)) => {
                out.push_str(&text);
                length
            }
            None => {
                out.push(next);
                next.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    out
}

impl Parts {
    fn of(time: Timestamp) -> Self {
        let seconds = time.as_second();
        let nanosecond = i64::from(time.subsec_nanosecond());
        let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Days since 1 March of year 0, in eras of 400 years.
        let shifted = days + 719_468;
        let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let index = usize::try_from(month - 1).unwrap_or(0);
        let yearday = before[index] + day + i64::from(leap && month > 2);
        let weekday = DAYS[usize::try_from(days.rem_euclid(7)).unwrap_or(0)];
        let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
        Self { year, month, day, yearday, weekday, hour, minute, second, nanosecond }
    }

    /// The element of a layout that begins here: its length, and what stands for it.
    fn element(&self, layout: &str, after_digit: bool) -> Option<(usize, String)> {
        let month = MONTHS[usize::try_from(self.month - 1).unwrap_or(0)];
        let hour12 = if self.hour % 12 == 0 { 12 } else { self.hour % 12 };
        let half = if self.hour < 12 { "AM" } else { "PM" };
        let lower_next = |length: usize| layout[length..].starts_with(|c: char| c.is_ascii_lowercase());
        // Longer ones first where one begins as another does.
        let elements: [(&str, String); 30] = [
            ("January", month.to_owned()),
            ("Jan", month[..3].to_owned()),
            ("Monday", self.weekday.to_owned()),
            ("Mon", self.weekday[..3].to_owned()),
            ("MST", "UTC".to_owned()),
            ("2006", format!("{:04}", self.year)),
            ("__2", format!("{:3}", self.yearday)),
            ("_2", format!("{:2}", self.day)),
            ("002", format!("{:03}", self.yearday)),
            ("01", format!("{:02}", self.month)),
            ("02", format!("{:02}", self.day)),
            ("03", format!("{hour12:02}")),
            ("04", format!("{:02}", self.minute)),
            ("05", format!("{:02}", self.second)),
            ("06", format!("{:02}", self.year.rem_euclid(100))),
            ("15", format!("{:02}", self.hour)),
            ("1", self.month.to_string()),
            ("2", self.day.to_string()),
            ("3", hour12.to_string()),
            ("4", self.minute.to_string()),
            ("5", self.second.to_string()),
            ("PM", half.to_owned()),
            ("pm", half.to_lowercase()),
            ("Z07:00", "Z".to_owned()),
            ("Z0700", "Z".to_owned()),
            ("Z07", "Z".to_owned()),
            ("-07:00", "+00:00".to_owned()),
            ("-0700", "+0000".to_owned()),
            ("-07", "+00".to_owned()),
            ("_2006", format!("_{:04}", self.year)),
        ];
        if let Some(fraction) = self.fraction(layout, after_digit) {
            return Some(fraction);
        }
        if layout.starts_with("_2006") {
            return Some((5, elements[29].1.clone()));
        }
        let found = elements.into_iter().find(|(element, _)| layout.starts_with(element))?;
        // `Janet` and `Month` are words, not the short names.
        if matches!(found.0, "Jan" | "Mon") && lower_next(3) {
            return None;
        }
        Some((found.0.len(), found.1))
    }

    /// `.000` or `,999` behind a number: nines leave zeros at the end away.
    fn fraction(&self, layout: &str, after_digit: bool) -> Option<(usize, String)> {
        let bytes = layout.as_bytes();
        let kind = *bytes.get(1).filter(|kind| matches!(kind, b'0' | b'9'))?;
        if !after_digit || !matches!(bytes[0], b'.' | b',') {
            return None;
        }
        let digits = bytes[1..].iter().take_while(|byte| **byte == kind).count();
        if digits > 9 || bytes.get(1 + digits).is_some_and(u8::is_ascii_digit) {
            return None;
        }
        let mut text = format!("{:09}", self.nanosecond);
        text.truncate(digits);
        if kind == b'9' {
            text.truncate(text.trim_end_matches('0').len());
        }
        let point = char::from(bytes[0]);
        Some((1 + digits, if text.is_empty() { text } else { format!("{point}{text}") }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Go printed for 2026-03-05T14:07:09.120Z and 2024-12-31T00:00:00Z.
    #[test]
    fn layouts_print_what_go_prints() {
        let time: Timestamp = "2026-03-05T14:07:09.120Z".parse().unwrap();
        for (layout, printed) in [
            (RFC3339, "2026-03-05T14:07:09Z"),
            ("Mon Jan _2 15:04:05 2006", "Thu Mar  5 14:07:09 2026"),
            ("Monday, 02-Jan-06 15:04:05 MST", "Thursday, 05-Mar-26 14:07:09 UTC"),
            ("3:04PM .000 05.000 05.999999", "2:07PM .000 09.120 09.12"),
            ("-0700 Z07 002 __2 1/2/06 pm", "+0000 Z 064  64 3/5/26 pm"),
            ("Month Janet 20060102", "Month Janet 20260305"),
        ] {
            assert_eq!(format(time, layout), printed, "{layout}");
        }
        let time: Timestamp = "2024-12-31T00:00:00Z".parse().unwrap();
        assert_eq!(format(time, "002 Mon 3PM 2006_2006"), "366 Tue 12AM 2024_2024");
    }
}
