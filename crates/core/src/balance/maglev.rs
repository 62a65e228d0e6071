//! Maglev's table (Eisenbud and others, NSDI 2016, 3.4), with weights: each backend gets its share of the places, and few keys
//! move when one comes or goes. Whoever has the same set builds the same table, in whatever order it is given.

use super::hash::{hash, mix};

/// Places of a table for up to `SMALL_POOL` backends; a prime, 100 places or more for each.
const SMALL: u32 = 16_381;

/// Places of a table for more; a prime.
const LARGE: u32 = 65_537;

/// Pools up to this size have the small table.
const SMALL_POOL: usize = 128;

/// The table.
#[derive(Clone, Debug, Default)]
pub struct Maglev {
    places: Box<[u16]>,
}

/// One who wants places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// What is found in the table.
    pub member: u16,
    /// The hash of its name, equal on all instances.
    pub name: u64,
    /// Its share.
    pub weight: u32,
}

/// Where one stands while the table is filled.
struct Filling {
    seat: Seat,
    next: u32,
    skip: u32,
    /// What it has earned of a place.
    credit: u64,
}

impl Maglev {
    /// The table for these.
    #[must_use]
    pub fn new(seats: &[Seat]) -> Self {
        let size = if seats.len() <= SMALL_POOL { SMALL } else { LARGE };
        Self::sized(seats, size)
    }

    /// Who stands at the place of this hash; `None` when the table is empty.
    #[must_use]
    pub fn find(&self, hash: u64) -> Option<usize> {
        let size = self.places.len() as u64;
        if size == 0 {
            return None;
        }
        Some(usize::from(self.places[usize::try_from(hash % size).expect("less than the length")]))
    }

    fn sized(seats: &[Seat], size: u32) -> Self {
        let mut filling: Vec<Filling> =
            seats.iter().filter(|seat| seat.weight > 0).map(|seat| Filling::new(*seat, size)).collect();
        filling.sort_by_key(|one| (one.seat.name, one.seat.member));
        let Some(heaviest) = filling.iter().map(|one| u64::from(one.seat.weight)).max() else {
            return Self::default();
        };
        let mut places = vec![u16::MAX; size as usize];
        let mut taken = vec![false; size as usize];
        let mut left = size;
        while left > 0 {
            for one in &mut filling {
                one.credit += u64::from(one.seat.weight);
                if one.credit < heaviest || left == 0 {
                    continue;
                }
                one.credit -= heaviest;
                let place = one.free_place(&taken, size);
                taken[place] = true;
                places[place] = one.seat.member;
                left -= 1;
            }
        }
        Self { places: places.into() }
    }
}

impl Filling {
    fn new(seat: Seat, size: u32) -> Self {
        let bytes = seat.name.to_le_bytes();
        let offset = hash([1, 0], &bytes) % u64::from(size);
        let skip = mix(hash([2, 0], &bytes)) % u64::from(size - 1) + 1;
        let small = |number: u64| u32::try_from(number).expect("less than the size");
        Self { seat, next: small(offset), skip: small(skip), credit: 0 }
    }

    /// The next place of its permutation that nobody has.
    fn free_place(&mut self, taken: &[bool], size: u32) -> usize {
        loop {
            let place = self.next as usize;
            self.next = (self.next + self.skip) % size;
            if !taken[place] {
                return place;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_weights_within_a_percent_of_the_table() {
        let seats: Vec<Seat> = (0..10).map(|n| seat(n, 1 + u32::from(n % 3))).collect();
        let table = Maglev::new(&seats);
        let total: u32 = seats.iter().map(|seat| seat.weight).sum();
        for one in &seats {
            let has = table.places.iter().filter(|member| **member == one.member).count() as f64;
            let wanted = f64::from(one.weight) / f64::from(total) * table.places.len() as f64;
            assert!((has / wanted - 1.0).abs() < 0.01, "{has} of {wanted}");
        }
    }

    #[test]
    fn of_ten_the_loss_of_one_moves_hardly_more_than_its_own_keys() {
        for size in [SMALL, LARGE] {
            let all: Vec<Seat> = (0..10).map(|n| seat(n, 1)).collect();
            let before = Maglev::sized(&all, size);
            for gone in 0..10 {
                let rest: Vec<Seat> = all.iter().copied().filter(|seat| seat.member != gone).collect();
                let after = Maglev::sized(&rest, size);
                let pairs = before.places.iter().zip(&after.places);
                let moved = pairs.filter(|(old, new)| old != new && **old != gone).count();
                assert!(moved * 100 < size as usize * 5, "{moved} of {size} moved without need");
            }
        }
    }

    #[test]
    fn the_order_of_the_file_does_not_matter() {
        let seats: Vec<Seat> = (0..7).map(|n| seat(n, 1 + u32::from(n))).collect();
        let turned: Vec<Seat> = seats.iter().rev().copied().collect();
        assert_eq!(Maglev::new(&seats).places, Maglev::new(&turned).places);
    }

    #[test]
    fn an_empty_set_finds_nobody_and_a_weightless_one_neither() {
        assert_eq!(Maglev::new(&[]).find(7), None);
        assert_eq!(Maglev::new(&[seat(1, 0)]).find(7), None);
    }

    fn seat(member: u16, weight: u32) -> Seat {
        Seat { member, name: hash([0, 0], format!("10.0.4.{member}:8080").as_bytes()), weight }
    }
}
