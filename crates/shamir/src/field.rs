//! Arithmetic in GF(256) modulo x⁸+x⁴+x³+x+1. No tables and no branches on the operands, so that time tells nothing of them.

/// The product.
pub fn multiply(a: u8, b: u8) -> u8 {
    let (mut a, mut b, mut product) = (a, b, 0u8);
    for _ in 0..8 {
        product ^= a & (b & 1).wrapping_neg();
        let carry = (a >> 7).wrapping_neg();
        a = (a << 1) ^ (carry & 0x1b);
        b >>= 1;
    }
    product
}

/// The inverse, as the 254th power; 0 for 0.
pub fn invert(a: u8) -> u8 {
    // 254 = 0b11111110: seven squarings, all but the last bit set.
    let mut power = a;
    let mut result = 1;
    for _ in 0..7 {
        power = multiply(power, power);
        result = multiply(result, power);
    }
    result
}

/// The polynomial with these coefficients, lowest first, at `x`.
pub fn evaluate(coefficients: &[u8], x: u8) -> u8 {
    coefficients.iter().rev().fold(0, |sum, coefficient| multiply(sum, x) ^ coefficient)
}

/// Lagrange's weight of the point `x` among `points` for the value at 0.
pub fn weight_at_zero(x: u8, points: &[u8]) -> u8 {
    points
        .iter()
        .filter(|other| **other != x)
        .fold(1, |product, other| multiply(product, multiply(*other, invert(*other ^ x))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiplies_as_aes_does() {
        // FIPS 197, section 4.2.
        assert_eq!(multiply(0x57, 0x83), 0xc1);
        assert_eq!(multiply(0x57, 0x13), 0xfe);
    }

    #[test]
    fn everything_but_zero_has_its_inverse() {
        assert!((1..=255).all(|a| multiply(a, invert(a)) == 1));
        assert_eq!(invert(0), 0);
    }
}
