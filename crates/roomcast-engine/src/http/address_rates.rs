//! [`AddressRates`]: how often each address may do something.

use crate::http::lately::Lately;
use crate::http::trusted_proxies::rate_key;
use crate::limits::{RATED_ADDRESSES, REFUSED_ADDRESSES, REFUSED_ADDRESSES_TIME};
use crate::rates::rate::Rate;
use crate::rates::rate_table::RateTable;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// A [`Rate`] for each address, and for each network of 64 bits of IPv6. It logs who is refused, once in ten minutes.
#[derive(Debug)]
pub(crate) struct AddressRates {
    rate: Rate,
    /// The option's name, for the operator who reads the log.
    option: &'static str,
    table: RateTable<IpAddr>,
    refused: Lately<IpAddr>,
}

impl AddressRates {
    pub(crate) fn new(rate: Rate, option: &'static str) -> Self {
        Self {
            rate,
            option,
            table: RateTable::new(rate, RATED_ADDRESSES),
            refused: Lately::new(REFUSED_ADDRESSES, REFUSED_ADDRESSES_TIME),
        }
    }

    /// Counts one use of this address.
    ///
    /// # Errors
    /// It is one too many. The error is the number of seconds after which the next is allowed; at least 1.
    pub(crate) fn take(&self, address: IpAddr, now: Instant) -> Result<(), u32> {
        let address = rate_key(address);
        self.table.take(&address, 1, now).map_err(|wait| {
            if self.refused.is_new(address, now) {
                let network = if address.is_ipv4() { "" } else { "/64" };
                tracing::warn!(
                    address = %format_args!("{address}{network}"),
                    option = self.option,
                    rate = %self.rate,
                    "an address does this more often than the option allows, and is refused with status 429. If many users share the address, as behind a proxy of their company, raise the rate; if it is your own proxy, add it to the trusted proxies"
                );
            }
            whole_seconds(wait)
        })
    }
}

/// In whole seconds, rounded up, as `Retry-After` is written.
fn whole_seconds(wait: Duration) -> u32 {
    let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_rate_and_one_past_it_for_each_network() {
        let rates = AddressRates::new("2/min".parse().unwrap(), "x");
        let now = Instant::now();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for address in ["192.0.2.1", "2001:db8::1"] {
            assert_eq!(rates.take(ip(address), now), Ok(()));
            assert_eq!(rates.take(ip(address), now), Ok(()));
        }
        assert_eq!(rates.take(ip("192.0.2.1"), now), Err(30));
        assert_eq!(rates.take(ip("::ffff:192.0.2.1"), now), Err(30));
        assert_eq!(rates.take(ip("2001:db8::ffff:0:0:1"), now), Err(30));
        assert_eq!(rates.take(ip("192.0.2.2"), now), Ok(()));
        assert_eq!(rates.take(ip("2001:db8:0:1::1"), now), Ok(()));
        let later = now + Duration::from_millis(29_001);
        assert_eq!(rates.take(ip("192.0.2.1"), later), Err(1));
        assert_eq!(rates.take(ip("192.0.2.1"), now + Duration::from_secs(30)), Ok(()));
    }

    #[test]
    fn seconds_are_rounded_up() {
        for (milliseconds, seconds) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (59_999, 60)] {
            assert_eq!(whole_seconds(Duration::from_millis(milliseconds)), seconds);
        }
        assert_eq!(whole_seconds(Duration::MAX), u32::MAX);
    }

    /// However many addresses there are, the table stays within its bound.
    #[tokio::test(start_paused = true)]
    async fn as_many_addresses_as_fit_and_one_more() {
        let rates = AddressRates::new("1/h".parse().unwrap(), "x");
        let now = Instant::now();
        let take = |number: usize| rates.take(IpAddr::from((number as u32).to_be_bytes()), now);
        for number in 0..RATED_ADDRESSES {
            assert_eq!(take(number), Ok(()));
        }
        assert_eq!(rates.table.len(), RATED_ADDRESSES);
        assert_eq!(take(RATED_ADDRESSES), Ok(()));
        assert!(rates.table.len() <= RATED_ADDRESSES, "{}", rates.table.len());
    }
}
