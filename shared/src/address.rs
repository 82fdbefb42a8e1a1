//! Blocks of network addresses, as settings name them.

use std::net::IpAddr;

use crate::text::text_type;

/// Addresses with a prefix in common: `10.0.0.0/8`, `2001:db8::/32`, or one address. IPv4 mapped
/// into IPv6 is IPv4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressBlock {
    text: Box<str>,
    network: IpAddr,
    prefix: u8,
}

/// Why a text is not an [`AddressBlock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressBlockError {
    #[error("an address block is an IP address, or one with a length as in 10.0.0.0/8")]
    Syntax,
    #[error(
        "an address block has no address bits beyond its length: write 10.0.0.0/8, not 10.0.0.1/8"
    )]
    Bits,
}

impl AddressBlock {
    /// # Errors
    /// [`AddressBlockError`] says what would be right.
    pub fn parse(text: &str) -> Result<Self, AddressBlockError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let network: IpAddr = address.parse().map_err(|_| AddressBlockError::Syntax)?;
        let width = if network.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => width,
            Some(digits) => Some(digits)
                .filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|digits| digits.parse().ok())
                .filter(|prefix| *prefix <= width)
                .ok_or(AddressBlockError::Syntax)?,
        };
        if bits(network) & !mask(prefix) != 0 {
            return Err(AddressBlockError::Bits);
        }
        Ok(Self { text: text.into(), network, prefix })
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.network.is_ipv4()
            && bits(address) & mask(self.prefix) == bits(self.network)
    }
}

/// The bits of an address at the upper end.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn mask(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

text_type!(AddressBlock, AddressBlockError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_hold_their_addresses() {
        for (block, address, holds) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "a00::", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "1.2.3.4", false),
            ("2001:db8::/32", "2001:db8:ffff::", true),
            ("2001:db8::/32", "2001:db9::", false),
            ("::1", "::1", true),
        ] {
            let parsed = AddressBlock::parse(block).unwrap();
            assert_eq!(parsed.contains(address.parse().unwrap()), holds, "{block} {address}");
            assert_eq!(parsed.to_string(), block);
        }
    }

    #[test]
    fn what_is_no_block_is_refused_with_a_reason() {
        for (text, error) in [
            ("", AddressBlockError::Syntax),
            ("10.0.0.0/33", AddressBlockError::Syntax),
            ("10.0.0.0/", AddressBlockError::Syntax),
            ("10.0.0.0/+8", AddressBlockError::Syntax),
            ("10.0.0/8", AddressBlockError::Syntax),
            ("::/129", AddressBlockError::Syntax),
            ("localhost", AddressBlockError::Syntax),
            ("10.0.0.1/8", AddressBlockError::Bits),
            ("2001:db8::1/32", AddressBlockError::Bits),
        ] {
            assert_eq!(AddressBlock::parse(text), Err(error), "{text}");
        }
    }
}
