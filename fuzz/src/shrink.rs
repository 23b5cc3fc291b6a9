//! Makes a failing input shorter and simpler.

/// Most attempts. Each costs an execution.
const MOST_ATTEMPTS: usize = 20_000;

/// The shortest input found that still `fails`: parts are left out, from halves down to single bytes, and then bytes
/// are set to zero.
pub(crate) fn shrink(input: &[u8], mut fails: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut best = input.to_vec();
    let mut attempts = 0;
    let mut try_one = |candidate: &[u8]| {
        attempts += 1;
        (attempts <= MOST_ATTEMPTS).then(|| fails(candidate))
    };
    let mut part = best.len().div_ceil(2);
    while part > 0 {
        let mut at = 0;
        let mut shorter = false;
        while at < best.len() {
            let end = best.len().min(at + part);
            let candidate = [&best[..at], &best[end..]].concat();
            match try_one(&candidate) {
                None => return best,
                Some(true) => {
                    best = candidate;
                    shorter = true;
                }
                Some(false) => at = end,
            }
        }
        if part > 1 || !shorter {
            part /= 2;
        }
    }
    for at in 0..best.len() {
        let before = std::mem::replace(&mut best[at], 0);
        match try_one(&best) {
            Some(true) => {}
            answer => {
                best[at] = before;
                if answer.is_none() {
                    break;
                }
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::shrink;

    #[test]
    fn what_does_not_matter_is_left_out() {
        let input: Vec<u8> = (0..=255).collect();
        let shrunk = shrink(&input, |bytes| bytes.contains(&7) && bytes.contains(&200));
        assert_eq!(shrunk, [7, 200]);
        let shrunk = shrink(&input, |bytes| bytes.len() >= 3);
        assert_eq!(shrunk, [0, 0, 0]);
        assert_eq!(shrink(b"abc", |_| false), b"abc");
    }
}
