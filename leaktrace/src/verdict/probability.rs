//! The probabilities that the tests rest on.

use statrs::function::beta::checked_beta_reg;

/// Counts above this are scaled down together: the continued fraction of statrs ends after 140 terms, which this
/// many need at most. A probability gets less extreme by it, never more.
const MOST: f64 = 5000.0;

/// P(x > at) for x of Beta(`more` + 1/2, `less` + 1/2), Jeffreys' posterior of a share of which `more` and `less`
/// were counted.
pub(super) fn share_above(more: f64, less: f64, at: f64) -> f64 {
    let scale = (MOST / (more + less)).min(1.0);
    let (a, b) = (more * scale + 0.5, less * scale + 0.5);
    // Outside its domain (which counts and shares cannot be) nothing is known.
    checked_beta_reg(a, b, at.clamp(0.0, 1.0)).map_or(0.0, |below| (1.0 - below).clamp(0.0, 1.0))
}

/// Upper 95 % bound of the mean of a Poisson variable of which `seen` were counted: 3.0 for none ("rule of
/// three"). Wilson and Hilferty's approximation of the quantile of chi squared, good to 1 %.
pub(super) fn at_most(seen: f64) -> f64 {
    const QUANTILE: f64 = 1.645;
    let n = seen + 1.0;
    n * (1.0 - 1.0 / (9.0 * n) + QUANTILE / (3.0 * n.sqrt())).powi(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_agree_with_tables_of_the_beta_distribution() {
        // The median of a symmetric one, and how many survivors without a death T1 needs: 12 do, 4 do not.
        assert!((share_above(10.0, 10.0, 0.5) - 0.5).abs() < 1e-9);
        assert!((1.0 - share_above(0.0, 12.0, 0.2)) > 0.97);
        assert!((1.0 - share_above(0.0, 4.0, 0.2)) < 0.95);
    }

    #[test]
    fn counts_of_any_size_give_a_probability() {
        for count in [0.0, 1.0, 1e3, 1e6, 1e12] {
            let p = share_above(count, count * 0.9, 0.5);
            assert!((0.0..=1.0).contains(&p), "{count}: {p}");
        }
        assert!(share_above(1e9, 0.4e9, 0.5) > 0.999);
    }

    #[test]
    fn no_death_seen_leaves_room_for_three() {
        assert!((at_most(0.0) - 3.0).abs() < 0.05);
        assert!((at_most(5.0) - 10.51).abs() < 0.1);
    }
}
