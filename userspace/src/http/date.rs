//! HTTP-dates as clients send them (RFC 9110, 5.6.7).

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// The days of the week, as 1970-01-01 began them.
const WEEKDAYS: [&str; 7] = [
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
];

/// Seconds since 1970-01-01 00:00:00 UTC that `text` stands for, in any of the three forms that a recipient has to
/// take; `None` if it is no HTTP-date. Names have the case that the grammar gives them, and the weekday must be the
/// date's: what is wrong in one place is not believed in another.
///
/// `now`, in the same seconds, decides on the century of a year of two digits.
pub(super) fn parse(text: &[u8], now: u32) -> Option<i64> {
    let (date, weekday) = match text {
        // Sun, 06 Nov 1994 08:49:37 GMT
        [
            w0,
            w1,
            w2,
            b',',
            b' ',
            d0,
            d1,
            b' ',
            m0,
            m1,
            m2,
            b' ',
            y0,
            y1,
            y2,
            y3,
            b' ',
            time @ ..,
        ] => {
            let time = time.strip_suffix(b" GMT")?;
            let year = number(&[*y0, *y1, *y2, *y3])?;
            let date = moment(year, month(&[*m0, *m1, *m2])?, number(&[*d0, *d1])?, time)?;
            (date, short(&[*w0, *w1, *w2])?)
        }
        // Sun Nov  6 08:49:37 1994
        [w0, w1, w2, b' ', m0, m1, m2, b' ', d0, d1, b' ', time @ ..] => {
            let (time, year) = time.split_at_checked(8)?;
            let year = number(year.strip_prefix(b" ").filter(|year| year.len() == 4)?)?;
            let day = match d0 {
                b' ' => number(&[*d1])?,
                _ => number(&[*d0, *d1])?,
            };
            let date = moment(year, month(&[*m0, *m1, *m2])?, day, time)?;
            (date, short(&[*w0, *w1, *w2])?)
        }
        _ => rfc850(text, now)?,
    };
    (date.day.rem_euclid(7) == weekday).then_some(86_400 * date.day + date.second)
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`, and its weekday.
fn rfc850(text: &[u8], now: u32) -> Option<(Moment, i64)> {
    let comma = text.iter().position(|&b| b == b',')?;
    let (name, rest) = text.split_at(comma);
    let weekday = WEEKDAYS.iter().position(|day| day.as_bytes() == name)? as i64;
    let [
        b',',
        b' ',
        d0,
        d1,
        b'-',
        m0,
        m1,
        m2,
        b'-',
        y0,
        y1,
        b' ',
        time @ ..,
    ] = rest
    else {
        return None;
    };
    let time = time.strip_suffix(b" GMT")?;
    let (month, day) = (month(&[*m0, *m1, *m2])?, number(&[*d0, *d1])?);
    let year = 2000 + number(&[*y0, *y1])?;
    // More than 50 years ahead means the last such year that has been.
    let limit = (i64::from(now) + 50 * 31_556_952).div_euclid(86_400);
    let in_century = |year| moment(year, month, day, time).map(|date| (date, weekday));
    match in_century(year) {
        Some((date, _)) if date.day <= limit => Some((date, weekday)),
        // Also a 29 February that this century does not have.
        Some(_) | None => in_century(year - 100),
    }
}

/// A second of a day counted from 1970-01-01.
struct Moment {
    day: i64,
    /// Up to 86,400: a leap second is one of the day that it ends.
    second: i64,
}

/// A day, `month` from 0 and `day` from 1, and a `HH:MM:SS`.
fn moment(year: i64, month: i64, day: i64, time: &[u8]) -> Option<Moment> {
    let &[h0, h1, b':', m0, m1, b':', s0, s1] = time else {
        return None;
    };
    let (hour, minute, second) = (number(&[h0, h1])?, number(&[m0, m1])?, number(&[s0, s1])?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_of_month = match month {
        1 => 28 + i64::from(leap),
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    };
    // 60 is a leap second.
    if !(1..=days_of_month).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(Moment {
        day: days(year, month, day),
        second: 3600 * hour + 60 * minute + second,
    })
}

/// Days from 1970-01-01 to a day; `month` from 0, `day` from 1.
///
/// Years are counted from March, so that the leap day is the last one: with m = 0 for March, month m begins at day
/// (153 m + 2) / 5 of its year.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = match month {
        0 | 1 => (year - 1, month + 10),
        _ => (year, month - 2),
    };
    let of_year = (153 * month + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year
        - 719_468
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        Some(10 * sum + i64::from(digit))
    })
}

fn month(name: &[u8; 3]) -> Option<i64> {
    let at = MONTHS.iter().position(|month| *month == name)?;
    Some(at as i64)
}

fn short(name: &[u8; 3]) -> Option<i64> {
    let at = WEEKDAYS
        .iter()
        .position(|day| day.as_bytes().starts_with(name))?;
    Some(at as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    /// 2026-01-01 00:00:00 UTC.
    const NOW: u32 = 1_767_225_600;

    #[test]
    fn http_dates_in_all_three_forms() {
        // RFC 9110, 5.6.7
        let table: &[(&str, Option<i64>)] = &[
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777)),
            ("Sun Nov  6 08:49:37 1994", Some(784_111_777)),
            ("Wed Nov 16 08:49:37 1994", Some(784_975_777)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Wed, 31 Dec 1969 23:59:59 GMT", Some(-1)),
            ("Mon, 01 Jan 1900 00:00:00 GMT", Some(-2_208_988_800)),
            ("Sat, 31 Dec 2016 23:59:60 GMT", Some(1_483_228_800)),
            ("Tue, 29 Feb 2000 00:00:00 GMT", Some(951_782_400)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(253_402_300_799)),
            // 2076 is not more than 50 years ahead, 2077 is.
            ("Wednesday, 01-Jan-75 00:00:00 GMT", None),
            ("Tuesday, 01-Jan-75 00:00:00 GMT", Some(3_313_526_400)),
            ("Saturday, 01-Jan-77 00:00:00 GMT", Some(220_924_800)),
            // No date, or no such day.
            ("", None),
            ("Sun", None),
            ("0", None),
            ("-1", None),
            ("784111777", None),
            ("Sun, 06 Nov 1994 08:49:37", None),
            ("Sun, 06 Nov 1994 08:49:37 UTC", None),
            ("Sun, 06 Nov 1994 08:49:37 gmt", None),
            ("Sun, 06 Nov 1994 08:49:37 +0000", None),
            ("Sun, 06 Nov 1994 08:49:37 GMT ", None),
            (
                "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
                None,
            ),
            ("sun, 06 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 nov 1994 08:49:37 GMT", None),
            ("Sun, 6 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06  Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 94 08:49:37 GMT", None),
            ("Sun 06 Nov 1994 08:49:37 GMT", None),
            ("Mon, 06 Nov 1994 08:49:37 GMT", None),
            ("Sun, 00 Nov 1994 08:49:37 GMT", None),
            ("Thu, 31 Nov 1994 08:49:37 GMT", None),
            ("Wed, 29 Feb 1995 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 24:00:00 GMT", None),
            ("Sun, 06 Nov 1994 08:60:00 GMT", None),
            ("Sun, 06 Nov 1994 08:49:61 GMT", None),
            ("Sun, 06 Nov 1994 8:49:37 GMT", None),
            ("Sun, +6 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06-Nov-94 08:49:37 GMT", None),
            ("Sunday, 06-Nov-1994 08:49:37 GMT", None),
            ("Sunday, 06 Nov 94 08:49:37 GMT", None),
            ("Sun Nov 6 08:49:37 1994", None),
            ("Sun Nov  6 08:49:37 1994 GMT", None),
            ("Sun Nov  6 08:49:37 94", None),
            ("Sun Nov  6 08:49:37", None),
        ];
        for &(text, expected) in table {
            assert_eq!(parse(text.as_bytes(), NOW), expected, "{text}");
        }
    }

    #[test]
    fn agrees_with_httpdate() {
        for seconds in (0..=u32::MAX).step_by(86_400 - 3661) {
            let at = UNIX_EPOCH + Duration::from_secs(u64::from(seconds));
            let text = httpdate::fmt_http_date(at);
            assert_eq!(
                parse(text.as_bytes(), NOW),
                Some(i64::from(seconds)),
                "{text}"
            );
        }
    }

    #[test]
    fn nothing_panics() {
        let all = [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ];
        for text in all {
            for at in 0..text.len() {
                parse(&text.as_bytes()[..at], NOW);
                for byte in 0..=255 {
                    let mut text = text.as_bytes().to_vec();
                    text[at] = byte;
                    parse(&text, 0);
                    parse(&text, u32::MAX);
                }
            }
        }
    }
}
