//! Dates as `Date.prototype.toJSON` writes them.

use super::item::Item;
use std::io::Write as _;

/// The largest distance from 1970 of a JavaScript `Date`, in milliseconds.
const MAX_MILLISECONDS: f64 = 8.64e15;

const DAY: i64 = 86_400_000;

/// The milliseconds of a timestamp, or `None` if the value is not a date. The arithmetic is JavaScript's: in doubles,
/// and then truncated.
pub(super) fn milliseconds(item: Item<'_>) -> Option<f64> {
    match item {
        Item::Date(milliseconds) => Some(milliseconds as f64),
        Item::Ext(-1, bytes) => {
            let (seconds, nanoseconds) = match *bytes {
                [a, b, c, d] => (i64::from(u32::from_be_bytes([a, b, c, d])), 0),
                [a, b, c, d, e, f, g, h] => {
                    let both = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
                    ((both & 0x3_ffff_ffff) as i64, (both >> 34) as u32)
                }
                [n0, n1, n2, n3, a, b, c, d, e, f, g, h] => {
                    (i64::from_be_bytes([a, b, c, d, e, f, g, h]), u32::from_be_bytes([n0, n1, n2, n3]))
                }
                _ => return None,
            };
            Some((seconds as f64 * 1e3 + f64::from(nanoseconds) / 1e6).trunc())
        }
        _ => None,
    }
}

/// Writes `"2026-11-24T02:50:33.443Z"`, or `null` where JavaScript has an invalid date.
pub(super) fn write_date(json: &mut Vec<u8>, milliseconds: f64) {
    if milliseconds.is_nan() || milliseconds.abs() > MAX_MILLISECONDS {
        json.extend_from_slice(b"null");
        return;
    }
    let milliseconds = milliseconds as i64;
    let (year, month, day) = civil(milliseconds.div_euclid(DAY));
    let of_day = milliseconds.rem_euclid(DAY);
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, millisecond) = (of_day / 1_000 % 60, of_day % 1_000);
    // Writing to a vector cannot fail.
    let _ = match year {
        0..=9_999 => write!(json, "\"{year:04}"),
        _ => write!(json, "\"{year:+07}"),
    };
    let _ = write!(json, "-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z\"");
}

/// Year, month and day of a day since 1970-01-01, in the proleptic Gregorian calendar. Years are counted from March, so
/// that the leap day is a year's last; 400 years are one era of 146,097 days.
fn civil(day: i64) -> (i64, i64, i64) {
    // Days from 0000-03-01 to 1970-01-01.
    let day = day + 719_468;
    let era = day.div_euclid(146_097);
    let of_era = day.rem_euclid(146_097);
    // Subtract the leap days that came before: one in 4 years, none in 100, and one in 400.
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    // From March on, every five months have 153 days.
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(milliseconds: f64) -> String {
        let mut json = Vec::new();
        write_date(&mut json, milliseconds);
        String::from_utf8(json).unwrap()
    }

    /// Each expectation is what `JSON.stringify(new Date(ms))` gave in Node 20.
    #[test]
    fn dates_as_javascript_writes_them() {
        for (milliseconds, expected) in [
            (0.0, r#""1970-01-01T00:00:00.000Z""#),
            (-1.0, r#""1969-12-31T23:59:59.999Z""#),
            (1_795_488_633_443.0, r#""2026-11-24T02:50:33.443Z""#),
            (951_782_400_000.0, r#""2000-02-29T00:00:00.000Z""#),
            (951_868_800_000.0, r#""2000-03-01T00:00:00.000Z""#),
            (4_107_542_399_999.0, r#""2100-02-28T23:59:59.999Z""#),
            (4_107_542_400_000.0, r#""2100-03-01T00:00:00.000Z""#),
            (253_402_300_799_999.0, r#""9999-12-31T23:59:59.999Z""#),
            (253_402_300_800_000.0, r#""+010000-01-01T00:00:00.000Z""#),
            (-62_167_219_200_000.0, r#""0000-01-01T00:00:00.000Z""#),
            (-62_167_219_200_001.0, r#""-000001-12-31T23:59:59.999Z""#),
            (8.64e15, r#""+275760-09-13T00:00:00.000Z""#),
            (-8.64e15, r#""-271821-04-20T00:00:00.000Z""#),
            (8.64e15 + 1.0, "null"),
            (f64::NAN, "null"),
            (f64::NEG_INFINITY, "null"),
        ] {
            assert_eq!(text(milliseconds), expected, "{milliseconds}");
        }
    }

    #[test]
    fn every_day_of_two_eras_follows_the_one_before() {
        let length = |year: i64, month: i64| match month {
            2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let mut expected = (1970, 1, 1);
        for day in 0..2 * 146_097 {
            assert_eq!(civil(day), expected);
            let (year, month, day) = expected;
            expected = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                (month, day) if day == length(year, month) => (year, month + 1, 1),
                _ => (year, month, day + 1),
            };
        }
    }

    #[test]
    fn timestamps_of_all_three_lengths() {
        let at = |bytes: &[u8]| milliseconds(Item::Ext(-1, bytes));
        assert_eq!(at(&[0, 0, 0, 1]), Some(1_000.0));
        assert_eq!(at(&[255; 4]), Some(4_294_967_295_000.0));
        // 678 ms = 678,000,000 ns in the upper 30 bits.
        assert_eq!(at(&((678_000_000 << 34) | 5u64).to_be_bytes()), Some(5_678.0));
        let minus_a_millisecond = [&999_000_000u32.to_be_bytes()[..], &(-1i64).to_be_bytes()].concat();
        assert_eq!(at(&minus_a_millisecond), Some(-1.0));
        assert_eq!(at(&[0; 5]), None);
        assert_eq!(milliseconds(Item::Ext(1, &[0; 4])), None);
        assert_eq!(milliseconds(Item::Date(-1)), Some(-1.0));
    }
}
