//! Plans against what a person would say, and against a naive model over random histories.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::sys::clock;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn backup(begin: Timestamp, standing: Standing) -> Stored {
    let id = format!("{}-0000", clock::compact(begin)).parse().unwrap();
    Stored { id, begin, standing, needs: None }
}

/// One each night at 02:10 UTC, `days` of them, the last one on 2026-11-26.
fn nights(days: i64) -> Vec<Stored> {
    let last = time("2026-11-26T02:10:00Z");
    (0..days).map(|n| backup(last - SignedDuration::from_secs(n * DAY), Standing::Proved)).collect()
}

fn decided(backups: &[Stored], rules: &Rules) -> Plan {
    plan(backups, rules, time("2026-11-26T03:00:00Z"), &TimeZone::UTC)
}

fn staying(plan: &Plan) -> Vec<&str> {
    let stays = plan.backups.iter().filter(|one| one.verdict == Verdict::Stays);
    stays.map(|one| &one.backup.id.as_str()[4..8]).collect()
}

fn reasons(plan: &Plan, day: &str) -> String {
    plan.backups.iter().find(|one| one.backup.id.as_str()[4..8] == *day).unwrap().reasons.join("; ")
}

#[test]
fn every_backup_is_told_why_it_stays_or_goes() {
    let keep = Keep {
        last: 2,
        daily: 3,
        weekly: 2,
        monthly: 2,
        yearly: 1,
        within: Some(Duration::from_secs(4 * 86_400 + 3600)),
    };
    let plan = decided(&nights(40), &Rules::Keep(keep));
    assert_eq!(staying(&plan), ["1126", "1125", "1124", "1123", "1122", "1031"]);
    assert_eq!(
        reasons(&plan, "1126"),
        "last 2; daily: newest of 2026-11-26; weekly: newest of 2026-W48; monthly: newest of 2026-11; \
         yearly: newest of 2026; within 97 hours"
    );
    assert_eq!(reasons(&plan, "1122"), "weekly: newest of 2026-W47; within 97 hours");
    assert_eq!(reasons(&plan, "1031"), "monthly: newest of 2026-10");
    assert_eq!(reasons(&plan, "1120"), "no rule keeps it");
    assert_eq!(plan.going().len(), 34);
}

#[test]
fn two_proved_ones_stay_whatever_the_rules_say() {
    let days = |days: u64| Duration::from_secs(days * 86_400);
    let old: Vec<Stored> = nights(30).split_off(25);
    for rules in [
        Rules::Keep(Keep { last: 1, ..Keep::default() }),
        Rules::Keep(Keep { within: Some(days(2)), ..Keep::default() }),
        Rules::OlderThan(days(1)),
    ] {
        let plan = decided(&old, &rules);
        assert_eq!(staying(&plan), ["1101", "1031"], "{rules:?}");
        assert!(reasons(&plan, "1031").contains("two newest proved ones always stay"));
    }
    assert!(reasons(&decided(&old, &Rules::OlderThan(days(1))), "1030").contains("older than 1 day"));
}

#[test]
fn what_is_not_proved_never_counts_and_goes_when_two_newer_ones_that_do_are_there() {
    let mut backups = nights(12);
    backups[1].standing = Standing::Bad("no server started".to_owned());
    backups[2].standing = Standing::Unproved;
    backups[9].standing = Standing::Bad("no server started".to_owned());
    backups[10].standing = Standing::Unreadable("no manifest".to_owned());
    backups[11].standing = Standing::Foreign("db2".to_owned());
    let plan = decided(&backups, &Rules::Keep(Keep { last: 3, ..Keep::default() }));
    assert_eq!(staying(&plan), ["1126", "1125", "1124", "1123", "1122", "1116", "1115"]);
    assert_eq!(reasons(&plan, "1125"), "does not count, but two newer proved ones are not there");
    assert_eq!(reasons(&plan, "1123"), "last 3");
    assert_eq!(reasons(&plan, "1117"), "does not count (no server started), and two newer proved ones are there");
    assert!(reasons(&plan, "1116").contains("never removed unasked"));
    assert!(reasons(&plan, "1115").contains("made by host db2"));
    // Young ones are of use to whoever looks for the reason.
    backups[4].standing = Standing::Unproved;
    let plan = decided(&backups, &Rules::Keep(Keep { last: 1, ..Keep::default() }));
    assert!(reasons(&plan, "1122").contains("not older than 7 days"));
}

#[test]
fn nothing_goes_where_the_newest_is_from_the_future_or_not_proved() {
    let rules = Rules::Keep(Keep { last: 1, ..Keep::default() });
    let ahead = time("2026-11-26T03:00:01Z");
    for (newest, why) in [
        (backup(ahead, Standing::Proved), "lies in the future"),
        (backup(ahead, Standing::Bad("x".to_owned())), "lies in the future"),
        (backup(time("2036-11-26T03:00:00Z"), Standing::Unreadable("x".to_owned())), "lies in the future"),
        (backup(time("2026-11-26T02:30:00Z"), Standing::Bad("its drill failed: y".to_owned())), "its drill failed: y"),
        (backup(time("2026-11-26T02:30:00Z"), Standing::Unproved), "is not proved"),
        (backup(time("2026-11-26T02:30:00Z"), Standing::Unreadable("z".to_owned())), "is unreadable: z"),
    ] {
        let plan = decided(&[nights(30), vec![newest]].concat(), &rules);
        assert!(plan.going().is_empty());
        assert!(plan.held.as_ref().unwrap().contains(why), "{:?}", plan.held);
        assert!(reasons(&plan, "1110").starts_with("nothing goes: the newest backup, "));
    }
    // Another host's clock is its own affair.
    let foreign = backup(time("2036-11-26T03:00:00Z"), Standing::Foreign("db2".to_owned()));
    assert_eq!(decided(&[nights(30), vec![foreign]].concat(), &rules).going().len(), 28);
}

#[test]
fn increments_stay_and_go_with_their_base_and_count_as_no_backup() {
    let mut backups = chains(12);
    let ids: Vec<RunId> = backups.iter().map(|backup| backup.id.clone()).collect();
    let rules = Rules::Keep(Keep { last: 1, ..Keep::default() });
    let plan = decided(&backups, &rules);
    assert_eq!(staying(&plan), ["1126", "1125", "1124", "1123", "1122", "1121"]);
    assert_eq!(reasons(&plan, "1126"), format!("stays with its base {}", ids[2]));
    assert_eq!(reasons(&plan, "1119"), format!("of no use without its base {}", ids[8]));
    let going = plan.going();
    let place = |n: usize| going.iter().position(|id| **id == ids[n]).unwrap();
    assert!(place(6) < place(8) && place(7) < place(8) && place(9) < place(11), "{going:?}");
    // What can't be removed keeps its base, and that the others.
    backups[7].standing = Standing::Foreign("db2".to_owned());
    let plan = decided(&backups, &rules);
    assert_eq!(staying(&plan).len(), 9);
    assert_eq!(reasons(&plan, "1118"), format!("base of {}", ids[7]));
    // What spoils the base spoils the increment.
    backups[2].standing = Standing::Bad("x".to_owned());
    assert!(decided(&backups, &rules).held.unwrap().ends_with("which is bad: x"));
    backups[2].standing = Standing::Proved;
    // One without its base is of no use.
    backups[7].needs = Some("20250101T000000Z-abcd".parse().unwrap());
    backups[7].standing = Standing::Proved;
    assert!(!staying(&decided(&backups, &rules)).contains(&"1119"));
}

/// Each third one is full, and the base of the two after it: 1124 of 1125 and 1126.
fn chains(days: usize) -> Vec<Stored> {
    let mut backups = nights(i64::try_from(days).unwrap());
    let ids: Vec<RunId> = backups.iter().map(|backup| backup.id.clone()).collect();
    for n in (0..days).filter(|n| n % 3 != 2) {
        backups[n].needs = Some(ids[n - n % 3 + 2].clone());
    }
    backups
}

#[test]
fn a_full_backup_is_as_young_as_the_newest_increment_on_it() {
    let limit = Duration::from_secs(7 * 86_400 + 3600);
    for rules in [Rules::OlderThan(limit), Rules::Keep(Keep { within: Some(limit), ..Keep::default() })] {
        let mut backups = chains(15);
        let plan = decided(&backups, &rules);
        // Eight nights are young enough. 1118 is the last of them, and 1119 is on it.
        assert_eq!(staying(&plan).last(), Some(&"1118"));
        // Of the next three only the newest would be.
        let rules = match &rules {
            Rules::Keep(_) => {
                Rules::Keep(Keep { within: Some(limit + Duration::from_secs(2 * 86_400)), ..Keep::default() })
            }
            Rules::OlderThan(_) => Rules::OlderThan(limit + Duration::from_secs(2 * 86_400)),
        };
        let plan = decided(&backups, &rules);
        assert_eq!(staying(&plan).last(), Some(&"1115"));
        assert_eq!(reasons(&plan, "1115"), format!("base of {}", backups[9].id));
        // It is no way back without a good base.
        backups[11].standing = Standing::Bad("x".to_owned());
        assert_eq!(staying(&decided(&backups, &rules)).last(), Some(&"1118"));
    }
}

#[test]
fn days_are_those_of_the_hosts_calendar() {
    let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    // 00:30 and 23:30 of 25 October 2026, a day of 25 hours; and 00:30 of the next one.
    let times = ["2026-10-24T22:30:00Z", "2026-10-25T22:30:00Z", "2026-10-25T23:30:00Z", "2026-10-26T23:30:00Z"];
    let backups: Vec<Stored> = times.iter().map(|t| backup(time(t), Standing::Proved)).collect();
    let rules = Rules::Keep(Keep { daily: 3, ..Keep::default() });
    let told = plan(&backups, &rules, time("2026-10-27T00:00:00Z"), &berlin);
    assert_eq!(told.going(), [&backups[0].id]);
    assert_eq!(told.backups[2].reasons, ["daily: newest of 2026-10-25"]);
    // In UTC the first and the second are of different days.
    assert_eq!(plan(&backups, &rules, time("2026-10-27T00:00:00Z"), &TimeZone::UTC).going(), [&backups[1].id]);
}

#[test]
fn nothing_goes_that_nobody_agreed_to() {
    let rules = Rules::Keep(Keep { last: 3, ..Keep::default() });
    let (then, now) = (decided(&nights(8)[1..], &rules), decided(&nights(8), &rules));
    let both = now.clone().within(&then);
    assert_eq!((then.going().len(), now.going().len()), (4, 5));
    assert_eq!(both.going(), then.going());
    assert!(reasons(&both, "1123").contains("nobody has agreed"));
}

/// The rules once more, as they are told to people: slow, and without a loop that counts down.
fn goes(backups: &[Stored], one: &Stored, rules: &Rules, now: Timestamp, zone: &TimeZone) -> bool {
    let key = |stored: &Stored| (stored.begin, stored.id.clone());
    let newest = backups.iter().filter(|b| !matches!(b.standing, Standing::Foreign(_))).max_by_key(|b| key(b));
    let is_none = |b: &Stored| !matches!(b.standing, Standing::Proved | Standing::Foreign(_));
    if newest.is_some_and(|newest| newest.begin > now || below(backups, newest).any(|b| is_none(&b))) {
        return false;
    }
    // A full backup and what is built on it are one: if anything of it is wanted, all of it stays.
    let root = |stored: &Stored| below(backups, stored).last().unwrap().id;
    !backups.iter().any(|other| root(other) == root(one) && wanted(backups, other, rules, now, zone))
}

fn below<'a>(backups: &'a [Stored], one: &Stored) -> impl Iterator<Item = Stored> + use<'a> {
    std::iter::successors(Some(one.clone()), |one| base(backups, one))
}

fn base(backups: &[Stored], one: &Stored) -> Option<Stored> {
    backups.iter().find(|base| one.needs.as_ref() == Some(&base.id)).cloned()
}

fn wanted(backups: &[Stored], one: &Stored, rules: &Rules, now: Timestamp, zone: &TimeZone) -> bool {
    let key = |stored: &Stored| (stored.begin, stored.id.clone());
    let proved: Vec<&Stored> = backups.iter().filter(|b| b.standing == Standing::Proved && b.needs.is_none()).collect();
    let newer = proved.iter().filter(|other| key(other) > key(one)).count();
    let old = |limit: Duration| now.as_second() - one.begin.as_second() > i64::try_from(limit.as_secs()).unwrap();
    let leads_back = one.standing == Standing::Proved
        && below(backups, one).all(|b| matches!(b.standing, Standing::Proved | Standing::Foreign(_)))
        && below(backups, one).last().unwrap().needs.is_none();
    match (&one.standing, rules) {
        (Standing::Foreign(_) | Standing::Unreadable(_), _) => true,
        (_, Rules::OlderThan(limit)) if leads_back && !old(*limit) => true,
        (_, Rules::Keep(Keep { within: Some(limit), .. })) if leads_back && !old(*limit) => true,
        _ if base(backups, one).is_some() => false,
        (Standing::Bad(_) | Standing::Unproved, Rules::Keep(_)) => newer < 2 || !old(Duration::from_secs(7 * 86_400)),
        (_, Rules::Keep(_)) if one.needs.is_some() => newer < 2 || !old(Duration::from_secs(7 * 86_400)),
        (_, Rules::OlderThan(limit)) => newer < 2 || !old(*limit),
        (Standing::Proved, Rules::Keep(keep)) => {
            let format =
                |pattern: &str, stored: &Stored| stored.begin.to_zoned(zone.clone()).strftime(pattern).to_string();
            let newest_of = |pattern: &str, count: u32| {
                // Of each period the newest; of those the newest so many.
                let mut of: BTreeMap<String, (Timestamp, RunId)> = BTreeMap::new();
                for stored in &proved {
                    let newest = of.entry(format(pattern, stored)).or_insert_with(|| key(stored));
                    *newest = newest.clone().max(key(stored));
                }
                let mut newest: Vec<_> = of.into_values().collect();
                newest.sort();
                newest.iter().rev().take(count as usize).any(|kept| *kept == key(one))
            };
            newer < 2
                || newer < keep.last as usize
                || newest_of("%Y-%m-%d", keep.daily)
                || newest_of("%G-%V", keep.weekly)
                || newest_of("%Y-%m", keep.monthly)
                || newest_of("%Y", keep.yearly)
        }
    }
}

fn standings() -> impl Strategy<Value = Standing> {
    prop_oneof![
        6 => Just(Standing::Proved),
        1 => Just(Standing::Unproved),
        1 => Just(Standing::Bad("x".to_owned())),
        1 => Just(Standing::Unreadable("x".to_owned())),
        1 => Just(Standing::Foreign("db2".to_owned())),
    ]
}

/// Backups one after the other by a clock that jumps now and then, by ten years or by an hour.
fn histories() -> impl Strategy<Value = (Vec<Stored>, Timestamp)> {
    let step = (
        prop_oneof![4 => 30_i64..3 * DAY, 1 => 1_i64..90, 1 => DAY..60 * DAY],
        prop_oneof![20 => Just(0_i64), 1 => Just(3650 * DAY), 1 => Just(-3650 * DAY), 1 => Just(-HOUR), 1 => Just(HOUR)],
        standings(),
        proptest::option::weighted(0.5, 1_usize..4),
    );
    (proptest::collection::vec(step, 0..40), prop_oneof![6 => 0_i64..DAY, 1 => -3650 * DAY..0, 1 => DAY..3650 * DAY])
        .prop_map(|(steps, after)| {
            let mut clock = time("2026-03-01T00:00:00Z");
            let (mut backups, mut seen): (Vec<Stored>, BTreeSet<RunId>) = Default::default();
            for (step, jump, standing, base) in steps {
                clock += SignedDuration::from_secs(step + jump);
                let made = backup(clock, standing);
                if !seen.insert(made.id.clone()) {
                    continue;
                }
                // A base was there before what needs it, and is older by its clock too.
                let base = base.and_then(|back| backups.len().checked_sub(back)).map(|at| &backups[at]);
                let needs = base.filter(|base| base.begin < made.begin).map(|base| base.id.clone());
                backups.push(Stored { needs, ..made });
            }
            (backups, clock + SignedDuration::from_secs(after))
        })
}

fn rules() -> impl Strategy<Value = Rules> {
    let within = proptest::option::of((1_u64..60).prop_map(|days| Duration::from_secs(days * 86_400)));
    let keep = (0_u32..5, 0_u32..9, 0_u32..6, 0_u32..14, 0_u32..4, within).prop_map(
        |(last, daily, weekly, monthly, yearly, within)| Keep { last, daily, weekly, monthly, yearly, within },
    );
    prop_oneof![
        4 => keep.prop_map(Rules::Keep),
        1 => (1_u64..90).prop_map(|days| Rules::OlderThan(Duration::from_secs(days * 86_400))),
    ]
}

/// With summer time on both halves of the earth, by half an hour, and far from UTC.
fn zones() -> impl Strategy<Value = TimeZone> {
    let rules = [
        "UTC0",
        "CET-1CEST,M3.5.0,M10.5.0/3",
        "EST5EDT,M3.2.0,M11.1.0",
        "NZST-12NZDT,M9.5.0,M4.1.0/3",
        "LHST-10:30LHDT-11,M10.1.0,M4.1.0",
        "<-11>11",
        "<+14>-14",
    ];
    proptest::sample::select(rules.to_vec()).prop_map(|rule| TimeZone::posix(rule).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn a_plan_is_what_the_naive_model_says(
        ((backups, now), rules, zone) in (histories(), rules(), zones())
    ) {
        let told = plan(&backups, &rules, now, &zone);
        prop_assert_eq!(told.backups.len(), backups.len());
        for one in &told.backups {
            let expected = goes(&backups, &one.backup, &rules, now, &zone);
            prop_assert_eq!(one.verdict == Verdict::Goes, expected, "{:?}", one);
            prop_assert!(!one.reasons.is_empty());
        }
        // Whatever the rules and the clock: two newer proved ones stay for each that goes.
        let stays: Vec<&Decided> = told.backups.iter().filter(|one| one.verdict == Verdict::Stays).collect();
        let full = |one: &&Decided| one.backup.needs.is_none();
        for gone in told.backups.iter().filter(|one| one.verdict == Verdict::Goes).filter(full) {
            let counts = |one: &Decided| one.backup.standing == Standing::Proved && full(&one);
            let newer = |one: &&&Decided| counts(one) && one.backup.begin >= gone.backup.begin;
            prop_assert!(stays.iter().filter(newer).count() >= ALWAYS);
        }
        // Nothing is left without what it needs and had, whenever a removal is cut short.
        let mut left: BTreeSet<&RunId> = told.backups.iter().map(|one| &one.backup.id).collect();
        for id in told.going() {
            left.remove(id);
            for one in told.backups.iter().filter(|one| left.contains(&one.backup.id)) {
                let base = base(&backups, &one.backup);
                prop_assert!(base.is_none_or(|base| left.contains(&base.id)));
            }
        }
        // A second look finds nothing more to do.
        let rest: Vec<Stored> = stays.iter().map(|one| one.backup.clone()).collect();
        prop_assert!(plan(&rest, &rules, now, &zone).going().is_empty());
    }
}
