//! `Date` as RFC 9110, 5.6.7 wants it.

use std::cell::Cell;
use tcp_lite::wire::Sum;

/// Length of an IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) const LEN: usize = 29;

thread_local! {
    /// The last one that was written, and its sum. No time is that of the first.
    static LAST: Cell<(u64, [u8; LEN], Sum)> = const { Cell::new((u64::MAX, [0; LEN], Sum::ZERO)) };
}

/// Writes the same as [`imf_fixdate`] and gives its sum, for times that are nearly always that of the last call: a thread
/// makes each once.
#[inline]
pub(super) fn of_the_moment(seconds: u32, place: &mut [u8; LEN]) -> Sum {
    LAST.with(|last| {
        let (at, text, sum) = last.get();
        if at == u64::from(seconds) {
            *place = text;
            return sum;
        }
        renew(last, seconds, place)
    })
}

#[cold]
fn renew(last: &Cell<(u64, [u8; LEN], Sum)>, seconds: u32, place: &mut [u8; LEN]) -> Sum {
    *place = imf_fixdate(seconds);
    let sum = Sum::of(place);
    last.set((u64::from(seconds), *place, sum));
    sum
}

/// The IMF-fixdate of `seconds` since 1970-01-01 00:00:00 UTC; good until the year 2106.
pub(super) fn imf_fixdate(seconds: u32) -> [u8; LEN] {
    const WEEKDAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed";
    const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let days = seconds / 86_400;
    let (year, month, day) = civil(days);
    let time = seconds % 86_400;
    let mut text = *b"Thu, 00 Jan 0000 00:00:00 GMT";
    let weekday = (days % 7) as usize;
    text[..3].copy_from_slice(&WEEKDAYS[3 * weekday..][..3]);
    two_digits(&mut text[5..7], day);
    text[8..11].copy_from_slice(&MONTHS[3 * (month as usize - 1)..][..3]);
    two_digits(&mut text[12..14], year / 100);
    two_digits(&mut text[14..16], year % 100);
    two_digits(&mut text[17..19], time / 3600);
    two_digits(&mut text[20..22], time / 60 % 60);
    two_digits(&mut text[23..25], time % 60);
    text
}

fn two_digits(place: &mut [u8], number: u32) {
    place[0] = b'0' + (number / 10) as u8;
    place[1] = b'0' + (number % 10) as u8;
}

/// Year, month and day of the month (both from 1) of a day counted from 1970-01-01.
///
/// Years are counted from March, so that the leap day is the last one: with m = 0 for March, month m begins at day
/// (153 m + 2) / 5 of its year, and 400 years have 146,097 days.
fn civil(days: u32) -> (u32, u32, u32) {
    let days = days + 719_468; // 0000-03-01 to 1970-01-01
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (400 * era + year + u32::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn the_moment_is_made_once_and_made_anew() {
        for seconds in [0, 0, 1, 1, 784_111_777, 784_111_777, 1, 0, u32::MAX] {
            let text = imf_fixdate(seconds);
            let mut place = [0; LEN];
            let sum = of_the_moment(seconds, &mut place);
            assert_eq!((place, sum), (text, Sum::of(&text)));
        }
    }

    #[test]
    fn agrees_with_httpdate() {
        // Every day there is, at a time of day that moves through all its hours, minutes and seconds.
        for seconds in (0..=u32::MAX).step_by(86_400 - 3661) {
            let expected =
                httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(u64::from(seconds)));
            assert_eq!(
                std::str::from_utf8(&imf_fixdate(seconds)).unwrap(),
                expected
            );
        }
    }
}
