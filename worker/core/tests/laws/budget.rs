//! Laws of the budget, whoever takes, completes, stands still or leaves.

use keyweir_core::{Budget, BudgetLimits, Held, Intake, ShardIndex};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::laws;

#[derive(Debug, Clone)]
enum Use {
    /// A record is taken, where intake and share allow it.
    Take {
        shard: u32,
        bytes: u64,
    },
    /// A shard's oldest record completes.
    Complete {
        shard: u32,
    },
    Tick,
    Limit {
        records: u64,
        bytes: u64,
    },
    Close {
        shard: u32,
    },
}

fn usage() -> impl Strategy<Value = Use> {
    let bytes = prop_oneof![8 => 0u64..200, 1 => Just(50_000)];
    prop_oneof![
        10 => (0u32..4, bytes).prop_map(|(shard, bytes)| Use::Take { shard, bytes }),
        6 => (1u32..4).prop_map(|shard| Use::Complete { shard }),
        1 => Just(Use::Complete { shard: 0 }),
        2 => Just(Use::Tick),
        1 => (1u64..60, 1u64..5_000).prop_map(|(records, bytes)| Use::Limit { records, bytes }),
        1 => (0u32..4).prop_map(|shard| Use::Close { shard }),
    ]
}

fn sum(held: &[Vec<u64>]) -> Held {
    Held { records: held.iter().map(Vec::len).sum::<usize>() as u64, bytes: held.iter().flatten().sum() }
}

proptest! {
    #![proptest_config(laws(512))]

    /// What is held is what was taken and is not complete, in all and for each shard.
    #[test]
    fn the_budget_is_taken_minus_completed(uses in vec(usage(), 1..400)) {
        let mut limits = BudgetLimits { records: 40, bytes: 4_000 };
        let mut budget = Budget::new(limits);
        (0..4).for_each(|shard| budget.open(ShardIndex(shard)));
        let mut held: Vec<Vec<u64>> = vec![Vec::new(); 4];
        // Whether intake was stopped at any time since the last tick.
        let mut short = false;
        for step in uses {
            let stopped = budget.intake() == Intake::Stop;
            match step {
                Use::Take { shard, bytes } => {
                    if !stopped && !budget.over_share(ShardIndex(shard)) {
                        budget.debit(ShardIndex(shard), bytes);
                        held[shard as usize].push(bytes);
                    }
                }
                Use::Complete { shard } => {
                    if let Some(bytes) = (!held[shard as usize].is_empty()).then(|| held[shard as usize].remove(0)) {
                        budget.refund(ShardIndex(shard), bytes);
                    }
                }
                Use::Tick => {
                    let newly = budget.tick();
                    prop_assert!(newly == 0 || short, "shards are set aside only when the budget is short");
                    short = false;
                }
                Use::Limit { records, bytes } => {
                    limits = BudgetLimits { records, bytes };
                    budget.set_limits(limits);
                }
                Use::Close { shard } => {
                    let all = sum(&held[shard as usize..][..1]);
                    prop_assert_eq!(budget.close(ShardIndex(shard)), all);
                    held[shard as usize].clear();
                    budget.open(ShardIndex(shard));
                }
            }
            short |= budget.intake() == Intake::Stop;
            let all = sum(&held);
            prop_assert_eq!(budget.held(), all);
            for shard in 0..4 {
                prop_assert_eq!(budget.held_by(ShardIndex(shard)), sum(&held[shard as usize..][..1]));
            }
            prop_assert!(all.records > 0 || budget.intake() == Intake::Take, "nothing is held and intake is stopped");
            if all.records <= limits.records * 3 / 4 / 4 && all.bytes <= limits.bytes * 3 / 4 / 4 {
                prop_assert_eq!(budget.intake(), Intake::Take);
            }
        }
    }

    /// Stops at the high mark and not before, goes on at the low mark and not before.
    #[test]
    fn intake_has_two_marks(moves in vec(any::<bool>(), 1..2_000), limit in 2u64..200) {
        let mut budget = Budget::new(BudgetLimits { records: limit, bytes: u64::MAX });
        budget.open(ShardIndex(0));
        let (mut held, mut stopped) = (0u64, false);
        for more in moves {
            if more && !stopped {
                budget.debit(ShardIndex(0), 10);
                held += 1;
            } else if held > 0 {
                budget.refund(ShardIndex(0), 10);
                held -= 1;
            }
            stopped = if stopped { held > limit * 3 / 4 } else { held >= limit };
            prop_assert!(held <= limit);
            prop_assert_eq!(budget.intake() == Intake::Stop, stopped, "{} of {}", held, limit);
        }
    }

    /// However shards move or stand still, what is held stays within the limit and a quarter, and a few records that
    /// round the shards' own parts up.
    #[test]
    fn what_is_held_stays_within_the_limit_and_a_quarter(uses in vec(usage(), 1..600)) {
        let mut budget = Budget::new(BudgetLimits { records: 40, bytes: u64::MAX });
        (0..4).for_each(|shard| budget.open(ShardIndex(shard)));
        for step in uses {
            match step {
                Use::Take { shard, .. } => {
                    if budget.intake() == Intake::Take && !budget.over_share(ShardIndex(shard)) {
                        budget.debit(ShardIndex(shard), 1);
                    }
                }
                Use::Complete { shard } => budget.refund(ShardIndex(shard), 1),
                _ => drop(budget.tick()),
            }
            prop_assert!(budget.held().records <= 40 + 10 + 4, "{:?}", budget.held());
        }
    }
}
