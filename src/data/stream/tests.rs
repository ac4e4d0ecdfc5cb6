use super::*;
use crate::data::{Targets, Task};

/// Rows of three bytes, so that a slot of features is no multiple of four: row r is [r, r+1, r+2], label r.
fn counting(rows: u8) -> Dataset {
    let features = (0..rows).flat_map(|row| [row, row + 1, row + 2]).collect();
    let labels = Targets::Labels((0..rows.into()).collect());
    Dataset::from_bytes(features, &[3], 1.0, Task::classes(rows.into()), labels).expect("consistent")
}

fn options(batch: usize, micro_batch: usize) -> StreamOptions {
    StreamOptions {
        batch,
        micro_batch,
        order: Order::Shuffled { seed: 11 },
        contents: Contents::Rows,
        start: Position::default(),
        end_epoch: 2,
    }
}

/// A micro-batch taken out of its slot.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    position: Position,
    bytes: Vec<u8>,
    rows: usize,
    batch_rows: usize,
    ends: [bool; 2],
}

fn all(dataset: &Dataset, options: StreamOptions) -> Result<Vec<Seen>> {
    let mut stream = Stream::new(dataset.clone(), options)?;
    let mut seen = Vec::new();
    while let Some(batch) = stream.next_batch()? {
        seen.push(Seen {
            position: batch.position,
            bytes: [batch.features(), batch.targets(), batch.indices()].concat(),
            rows: batch.rows,
            batch_rows: batch.batch_rows,
            ends: [batch.ends_batch, batch.ends_epoch],
        });
    }
    assert!(stream.next_batch()?.is_none(), "an ended stream stays ended");
    Ok(seen)
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

#[test]
fn every_epoch_has_each_row_once_in_its_own_order() -> Result<()> {
    let options = StreamOptions { contents: Contents::Indices, ..options(4, 4) };
    let seen = all(&counting(10), options)?;
    let order = |epoch| -> Vec<u32> {
        let batches = seen.iter().filter(|batch| batch.position.epoch == epoch);
        batches.flat_map(|batch| words(&batch.bytes)[..batch.rows].to_vec()).collect()
    };
    for epoch in [0, 1] {
        let mut sorted = order(epoch);
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..10), "epoch {epoch}");
    }
    assert_ne!(order(0), order(1));
    // Fixed for good: a checkpoint of today must be continued alike by a later version.
    assert_eq!(order(0), [0, 8, 5, 2, 9, 4, 6, 7, 1, 3]);
    Ok(())
}

#[test]
fn short_batches_say_how_many_rows_count() -> Result<()> {
    // (batch, micro-batch) of ten rows → per micro-batch: batch, rows, rows of the batch, ends batch, ends epoch
    type Expected = &'static [(u64, usize, usize, bool, bool)];
    let table: [(usize, usize, Expected); 5] = [
        (4, 4, &[(0, 4, 4, true, false), (1, 4, 4, true, false), (2, 2, 2, true, true)]),
        (
            6,
            3,
            &[
                (0, 3, 6, false, false),
                (0, 3, 6, true, false),
                (1, 3, 4, false, false),
                (1, 1, 4, true, true),
            ],
        ),
        (10, 4, &[(0, 4, 10, false, false), (0, 4, 10, false, false), (0, 2, 10, true, true)]),
        (5, 5, &[(0, 5, 5, true, false), (1, 5, 5, true, true)]),
        (64, 16, &[(0, 10, 10, true, true)]),
    ];
    for (batch, micro_batch, expected) in table {
        let seen = all(&counting(10), StreamOptions { end_epoch: 1, ..options(batch, micro_batch) })?;
        let found: Vec<_> = seen
            .iter()
            .map(|seen| (seen.position.batch, seen.rows, seen.batch_rows, seen.ends[0], seen.ends[1]))
            .collect();
        assert_eq!(found, expected, "batch {batch}, micro-batch {micro_batch}");
    }
    Ok(())
}

#[test]
fn a_slot_is_filled_up_with_row_0_and_aligned() -> Result<()> {
    let mut stream = Stream::new(counting(2), StreamOptions { order: Order::AsStored, ..options(3, 3) })?;
    let batch = stream.next_batch()?.expect("one batch");
    assert_eq!(batch.features(), [0, 1, 2, 1, 2, 3, 0, 1, 2, 0, 0, 0]);
    assert_eq!(words(batch.targets()), [0, 1, 0]);
    assert!(batch.indices().is_empty());
    assert_eq!(batch.rows, 2);
    Ok(())
}

#[test]
fn a_stream_begun_anywhere_continues_as_one_begun_before() -> Result<()> {
    let whole = all(&counting(10), options(4, 2))?;
    let positions: Vec<Position> = whole.iter().map(|seen| seen.position).collect();
    for start in positions {
        let expected: Vec<Seen> = whole.iter().skip_while(|seen| seen.position != start).cloned().collect();
        assert_eq!(all(&counting(10), StreamOptions { start, ..options(4, 2) })?, expected, "{start:?}");
    }
    let past_epoch = StreamOptions { start: Position { epoch: 0, batch: 3 }, ..options(4, 2) };
    let expected: Vec<Seen> = whole.iter().filter(|seen| seen.position.epoch == 1).cloned().collect();
    assert_eq!(all(&counting(10), past_epoch)?, expected);
    Ok(())
}

#[test]
fn indices_name_the_rows_that_the_other_contents_hold() -> Result<()> {
    let dataset = counting(10).subset(2..9)?;
    let rows = all(&dataset, options(3, 3))?;
    let indices = all(&dataset, StreamOptions { contents: Contents::Indices, ..options(3, 3) })?;
    assert_eq!(rows.len(), indices.len());
    for (rows, indices) in rows.iter().zip(&indices) {
        let labels = words(&rows.bytes[12..]);
        let named: Vec<u32> = words(&indices.bytes).iter().map(|row| row + 2).collect();
        assert_eq!(labels, named);
    }
    Ok(())
}

#[test]
fn slots_are_recycled_not_allocated() -> Result<()> {
    let mut stream = Stream::new(counting(100), StreamOptions { end_epoch: 50, ..options(7, 7) })?;
    let mut addresses = std::collections::HashSet::new();
    let mut batches = 0;
    while let Some(batch) = stream.next_batch()? {
        addresses.insert(batch.features().as_ptr());
        batches += 1;
    }
    assert_eq!((batches, addresses.len()), (50 * 15, MOST_SLOTS));
    assert_eq!([slots(0), slots(100 << 10), slots(32 << 10)], [MOST_SLOTS, FEWEST_SLOTS, 8]);
    Ok(())
}

#[test]
fn dropping_a_stream_at_any_time_ends_its_thread() -> Result<()> {
    for taken in 0..6 {
        let endless = StreamOptions { end_epoch: u64::MAX, ..options(1, 1) };
        let mut stream = Stream::new(counting(10), endless)?;
        for _ in 0..taken {
            stream.next_batch()?;
        }
        // Waits for the thread, so that one which does not end would hang the test.
        drop(stream);
    }
    Ok(())
}

#[test]
fn what_cannot_be_streamed_is_refused() {
    let table = [
        (options(0, 1), "batch: must be at least 1 row"),
        (options(1, 0), "micro-batch: must be at least 1 row"),
        (
            StreamOptions { start: Position { epoch: 0, batch: 4 }, ..options(4, 4) },
            "start: batch 4 is beyond the 3 of an epoch of memory",
        ),
    ];
    for (options, expected) in table {
        let error = Stream::new(counting(10), options).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some(expected));
    }
}
