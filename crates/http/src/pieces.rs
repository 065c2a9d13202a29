//! A body as it came, piece by piece. A buffer that grew with it would hold up to three times as much while it moves.

use bytes::Bytes;

/// Below this a piece is small, and so much of them is kept together.
const SMALL: usize = 4 << 10;
const TOGETHER: usize = 64 << 10;

/// What has arrived of a body.
#[derive(Default)]
pub struct Pieces {
    whole: Vec<Bytes>,
    /// Small ones are put together: what holds one is larger than it is.
    small: Vec<u8>,
    bytes: usize,
}

impl Pieces {
    /// How much has arrived.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// One more.
    pub fn add(&mut self, data: Bytes) {
        self.bytes += data.len();
        // The first one may be all there is.
        if data.len() >= SMALL || self.bytes == data.len() {
            self.flush();
            self.whole.push(data);
            return;
        }
        self.small.extend_from_slice(&data);
        if self.small.len() >= TOGETHER {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if !self.small.is_empty() {
            self.whole.push(std::mem::take(&mut self.small).into());
        }
    }

    /// All of it in one; not copied if it came in one.
    pub fn join(mut self) -> Bytes {
        self.flush();
        if self.whole.len() == 1 {
            return self.whole.remove(0);
        }
        let mut all = Vec::with_capacity(self.bytes);
        for piece in self.whole {
            all.extend_from_slice(&piece);
        }
        all.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in_pieces_is_what_was_sent() {
        let body: Vec<u8> = (0..200_000).map(|at| u8::try_from(at % 251).unwrap()).collect();
        for sizes in [&[200_000][..], &[1], &[SMALL - 1], &[SMALL], &[1, SMALL, 7, TOGETHER]] {
            let (mut pieces, mut rest) = (Pieces::default(), &body[..]);
            for size in sizes.iter().cycle() {
                let (piece, after) = rest.split_at((*size).min(rest.len()));
                pieces.add(Bytes::copy_from_slice(piece));
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            assert_eq!(pieces.bytes(), body.len());
            assert!(pieces.join() == body, "{sizes:?}");
        }
    }

    #[test]
    fn what_came_in_one_is_not_copied() {
        let body = Bytes::from(vec![1; 10]);
        let mut pieces = Pieces::default();
        pieces.add(body.clone());
        assert_eq!(pieces.join().as_ptr(), body.as_ptr());
    }

    /// Each of a thousand pieces of one byte would else hold its own allocation.
    #[test]
    fn small_ones_are_kept_together() {
        let mut pieces = Pieces::default();
        (0..1_000).for_each(|_| pieces.add(Bytes::from_static(b"a")));
        assert_eq!(pieces.whole.len(), 1);
    }
}
