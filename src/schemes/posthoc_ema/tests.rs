use super::*;

/// ∫ f from 0 to `end`, by Simpson's rule.
fn integral(end: f64, f: impl Fn(f64) -> f64) -> f64 {
    const STEPS: usize = 5_000;
    let width = end / STEPS as f64;
    let weight = |i: usize| match i {
        0 | STEPS => 1.0,
        i if i % 2 == 1 => 4.0,
        _ => 2.0,
    };
    (0..=STEPS).map(|i| weight(i) * f(i as f64 * width)).sum::<f64>() * width / 3.0
}

/// What an average weighs the weights of time τ by.
fn density(profile: &Profile, tau: f64) -> f64 {
    let Profile { time, gamma } = *profile;
    if tau > time { 0.0 } else { (gamma + 1.0) * (tau / time).powf(gamma) / time }
}

fn stored(times: &[f64], sigmas: &[f64]) -> Vec<Profile> {
    let profile =
        |&time: &f64, &sigma: &f64| Profile { time, gamma: gamma(sigma).expect("a width") };
    times.iter().flat_map(|time| sigmas.iter().map(move |sigma| profile(time, sigma))).collect()
}

fn near(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance * b.abs().max(1e-300)
}

#[test]
fn a_width_is_the_standard_deviation_of_its_profile() {
    for sigma in [0.01, 0.05, 0.1, 0.15, 0.25] {
        let profile = Profile { time: 1.0, gamma: gamma(sigma).unwrap() };
        let moment = |f: &dyn Fn(f64) -> f64| integral(1.0, |tau| density(&profile, tau) * f(tau));
        assert!(near(moment(&|_| 1.0), 1.0, 1e-6));
        let mean = moment(&|tau| tau);
        let width = moment(&|tau| (tau - mean).powi(2)).sqrt();
        assert!(near(width, sigma, 1e-6), "{sigma} {width}");
    }
    for none in [0.0, -0.1, 0.289, 1.0, f64::NAN, f64::INFINITY, 1e-7] {
        assert_eq!(gamma(none), None, "{none}");
    }
}

#[test]
fn products_are_integrals_over_the_common_time() {
    let all = stored(&[1.0, 3.0, 3.5], &[0.05, 0.12]);
    for a in &all {
        for b in &all {
            let expected = integral(a.time.min(b.time), |tau| density(a, tau) * density(b, tau));
            assert!(near(product(a, b), expected, 1e-6), "{a:?} {b:?}");
        }
    }
}

/// By the definition, for a combination q of profiles: √(∫ (p − q)² / ∫ p²), and the cosine ∫ p·q / √(∫ p² · ∫ q²).
fn compare(stored: &[Profile], weights: &[f64], target: &Profile) -> (f64, f64) {
    let made = |tau: f64| -> f64 {
        stored.iter().zip(weights).map(|(profile, x)| x * density(profile, tau)).sum()
    };
    // Profiles end at once: piece by piece, Simpson's rule sees smooth functions.
    let mut ends: Vec<f64> = stored.iter().map(|profile| profile.time).collect();
    ends.sort_by(f64::total_cmp);
    ends.dedup();
    let over = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        let mut start = 0.0;
        let piece = |end: &f64| {
            let (from, length) = (start, end - start);
            start = *end;
            // Just inside of the piece.
            let inside = |x: f64| (from + x).clamp(from * (1.0 + 1e-12), end * (1.0 - 1e-12));
            integral(length, |x| f(density(target, inside(x)), made(inside(x))))
        };
        ends.iter().map(piece).sum()
    };
    let (own, square) = (over(&|p, _| p * p), over(&|_, q| q * q));
    let off = over(&|p, q| (p - q).powi(2));
    ((off / own).sqrt(), over(&|p, q| p * q) / (own * square).sqrt())
}

#[test]
fn the_combination_is_the_nearest_there_is() {
    for (times, sigmas, wanted) in [
        (vec![1.0, 2.0, 3.0, 4.0], vec![0.05, 0.1], 0.075),
        (vec![256.0, 512.0, 1024.0], vec![0.05, 0.1], 0.15),
        (vec![31.0, 32.0, 33.0], vec![0.05], 0.08),
    ] {
        let stored = stored(&times, &sigmas);
        let target = Profile { time: times[times.len() - 1], gamma: gamma(wanted).unwrap() };
        let (weights, fit) = solve(&stored, target);
        assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let (misfit, cosine) = compare(&stored, &weights, &target);
        assert!(near(fit.misfit, misfit, 1e-4), "{} {misfit}", fit.misfit);
        // The solution of least squares, of whatever length, is nearer in direction than any other.
        for i in 0..weights.len() {
            for step in [-0.02, 0.02] {
                let mut other = weights.clone();
                other[i] += step;
                let (_, other) = compare(&stored, &other, &target);
                assert!(other < cosine, "{i} {step}: {other} {cosine}");
            }
        }
    }
}

#[test]
fn what_is_stored_is_found_again() {
    let all = stored(&[1.0, 2.0, 3.0], &[0.05, 0.1]);
    let (weights, fit) = solve(&all, all[4]);
    for (i, weight) in weights.iter().enumerate() {
        assert!((weight - f64::from(i == 4)).abs() < 1e-9, "{weights:?}");
    }
    assert!(fit.misfit < 1e-6 && fit.condition > 1.0 && fit.condition < 1e6);
}

/// What it is for: averages of a training run's weights, combined, are the average of another width.
#[test]
fn stored_averages_make_the_average_of_another_width() {
    let all = stored(&[2.0, 4.0, 6.0, 8.0], &[0.05, 0.1]);
    let target = Profile { time: 8.0, gamma: gamma(0.08).unwrap() };
    let (weights, fit) = solve(&all, target);
    for weight_at in [&|t: f64| t, &|t: f64| (2.0 * t).sin(), &|t: f64| 1.0 / (1.0 + t)]
        as [&dyn Fn(f64) -> f64; 3]
    {
        let average = |profile: &Profile| {
            integral(profile.time, |tau| density(profile, tau) * weight_at(tau))
        };
        let made: f64 = all.iter().zip(&weights).map(|(profile, x)| x * average(profile)).sum();
        // Cauchy and Schwarz.
        let norms =
            product(&target, &target).sqrt() * integral(8.0, |tau| weight_at(tau).powi(2)).sqrt();
        let off = (made - average(&target)).abs();
        assert!(off <= fit.misfit * norms * 1.001 + 1e-9 && off < 0.01 * norms, "{off}");
    }
}

#[test]
fn snapshots_that_are_the_same_but_for_rounding_are_refused() {
    let times: Vec<f64> = (0..40).map(|i| 1e6 + f64::from(i)).collect();
    let (_, fit) =
        solve(&stored(&times, &[0.05, 0.0501, 0.0502]), Profile { time: 1e6 + 39.0, gamma: 7.0 });
    assert!(fit.condition.is_nan() || fit.condition >= MOST_CONDITION, "{}", fit.condition);
}
