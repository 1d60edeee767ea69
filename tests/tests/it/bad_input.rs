//! Directories and settings that must be refused: with a typed error that says what to do, and every file as it was.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use roadbed::{Config, RetentionPolicy};
use roadbed_messages::api::{Error, GetBlock, GetQc, StartError, WalKind};
use roadbed_messages::testing::{self, ChainShape};
use roadbed_messages::{BlockNumber, codec};
use roadbed_tests::{Craft, Files, Fixture, Rig, settings};
use roadbed_wal::Entry;
use tempfile::TempDir;

/// A store that holds the whole chain, closed in order.
async fn stored(fixture: Fixture) -> (Fixture, TempDir) {
    let rig = Rig::on_disk(fixture).await;
    rig.push_all().await;
    rig.until_durable().await;
    rig.ended().await
}

async fn start(fixture: &Fixture, dir: &Path, config: Config) -> Result<(), StartError> {
    let roadbed = fixture.builder().data_dir(dir).config(config).start().await?;
    roadbed.shutdown().await.unwrap();
    Ok(())
}

/// The start is refused, three times in a row, and changes nothing.
async fn refused(fixture: &Fixture, dir: &Path) -> StartError {
    let before = Files::of(dir);
    let mut errors = Vec::new();
    for _ in 0..3 {
        errors.push(start(fixture, dir, settings()).await.unwrap_err());
        assert_eq!(Files::of(dir), before);
    }
    // Where both logs are refused, either may be the first to say so.
    let same = |error: &StartError| std::mem::discriminant(error) == std::mem::discriminant(&errors[0]);
    assert!(errors.iter().all(same), "{errors:?}");
    errors.remove(0)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Changes the byte at `offset` of a file.
fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

// ---- directories -----------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_path_that_is_no_directory_is_refused() {
    let fixture = Fixture::new(1, 4, 1);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"mine").unwrap();
    for path in [file.clone(), file.join("below")] {
        let before = Files::of(dir.path());
        let error = start(&fixture, &path, settings()).await.unwrap_err();
        let named = path.display().to_string();
        assert!(matches!(&error, StartError::Failed { detail } if detail.contains(&named)), "{error:?}");
        assert_eq!(Files::of(dir.path()), before);
    }
}

#[tokio::test]
async fn a_log_that_is_no_directory_is_refused_without_trying_again() {
    for wal in WalKind::BOTH {
        let (fixture, dir) = stored(Fixture::new(2, 4, 2)).await;
        let log = Craft::new(dir.path(), &fixture).log_dir(wal);
        fs::remove_dir_all(&log).unwrap();
        fs::write(&log, b"no log").unwrap();
        let error = refused(&fixture, dir.path()).await;
        let named = log.display().to_string();
        assert!(matches!(&error, StartError::Failed { detail } if detail.contains(&named)), "{error:?}");
    }
}

#[tokio::test]
async fn a_directory_of_something_else_gets_nothing_not_even_a_lock() {
    let fixture = Fixture::new(3, 4, 1);
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.tex"), b"\\begin{document}").unwrap();
    let error = refused(&fixture, dir.path()).await;
    assert!(
        matches!(&error, StartError::Foreign { path, detail } if path == dir.path() && detail.contains("thesis.tex")),
        "{error:?}"
    );
    assert_eq!(Files::of(dir.path()).names(dir.path()), ["thesis.tex"]);
}

#[tokio::test]
async fn a_directory_that_holds_only_directories_or_links_of_something_else_gets_nothing_either() {
    let fixture = Fixture::new(3, 4, 1);
    for link in [false, true] {
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
        let theirs = dir.path().join("chapters");
        if link {
            std::os::unix::fs::symlink(elsewhere.path(), &theirs).unwrap();
        } else {
            fs::create_dir(&theirs).unwrap();
            fs::write(theirs.join("one.tex"), b"mine").unwrap();
        }
        let error = refused(&fixture, dir.path()).await;
        assert!(
            matches!(&error, StartError::Foreign { path, detail } if path == dir.path() && detail.contains("chapters")),
            "{error:?}"
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

#[tokio::test]
async fn directories_that_a_store_or_its_file_system_makes_are_not_something_else() {
    let fixture = Fixture::new(3, 4, 1);
    let dir = tempfile::tempdir().unwrap();
    for name in ["qcs", "blocks", "aside", "lost+found"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    start(&fixture, dir.path(), settings()).await.unwrap();
}

#[tokio::test]
async fn a_committee_whose_store_is_lost_is_refused_and_once_moved_away_a_new_store_is_made() {
    for gone in [&["qcs", "blocks"][..], &["qcs"], &["blocks"]] {
        let (fixture, dir) = (Fixture::new(12, 4, 2), tempfile::tempdir().unwrap());
        Craft::new_store(dir.path(), &fixture);
        fs::remove_file(dir.path().join("STORE")).unwrap();
        for name in gone {
            fs::remove_dir_all(dir.path().join(name)).unwrap();
        }
        let error = refused(&fixture, dir.path()).await;
        assert!(
            matches!(&error, StartError::WouldLose { detail }
                if detail.contains("is lost") && detail.contains("move committee.json away")),
            "{error:?}"
        );
        fs::remove_file(dir.path().join("committee.json")).unwrap();
        start(&fixture, dir.path(), settings()).await.unwrap();
    }
}

#[tokio::test]
async fn files_of_the_operator_beside_a_store_do_no_harm() {
    let (fixture, dir) = stored(Fixture::new(4, 4, 2)).await;
    fs::write(dir.path().join("NOTES"), b"do not delete").unwrap();
    start(&fixture, dir.path(), settings()).await.unwrap();
    assert_eq!(fs::read(dir.path().join("NOTES")).unwrap(), b"do not delete");
}

#[tokio::test]
async fn the_store_of_another_chain_is_refused() {
    let (fixture, dir) = stored(Fixture::new(5, 4, 2)).await;
    let shape = ChainShape::default();
    let others = [
        Fixture::new(6, 4, 1),
        Fixture::new(5, 7, 1),
        Fixture::of(5, testing::committee_from(5, 4, BlockNumber(1)), shape, 1),
    ];
    for other in others {
        let error = refused(&other, dir.path()).await;
        assert!(matches!(&error, StartError::Foreign { path, .. } if path == dir.path()), "{error:?}");
        assert!(error.to_string().contains("choose another directory"), "{error}");
    }
    start(&fixture, dir.path(), settings()).await.unwrap();
}

#[tokio::test]
async fn logs_that_belong_elsewhere_are_refused() {
    let (fixture, dir) = stored(Fixture::new(7, 4, 2)).await;
    let (_, other) = stored(Fixture::new(8, 4, 2)).await;
    let craft = Craft::new(dir.path(), &fixture);
    let (qcs, blocks) = (craft.log_dir(WalKind::Qcs), craft.log_dir(WalKind::Blocks));
    let original = tempfile::tempdir().unwrap();
    copy(dir.path(), original.path());

    // The log of another chain.
    fs::remove_dir_all(&blocks).unwrap();
    copy(&other.path().join("blocks"), &blocks);
    let error = refused(&fixture, dir.path()).await;
    assert!(matches!(&error, StartError::Foreign { path, .. } if path.starts_with(&blocks)), "{error:?}");

    // Each in the other's place.
    fs::remove_dir_all(&blocks).unwrap();
    fs::rename(&qcs, &blocks).unwrap();
    copy(&original.path().join("blocks"), &qcs);
    let error = refused(&fixture, dir.path()).await;
    assert!(matches!(error, StartError::Foreign { .. }), "{error:?}");
}

#[tokio::test]
async fn logs_with_entries_but_no_marker_are_refused() {
    for gone in [None, Some("qcs"), Some("blocks")] {
        let (fixture, dir) = stored(Fixture::new(9, 4, 2)).await;
        fs::remove_file(dir.path().join("STORE")).unwrap();
        if let Some(gone) = gone {
            fs::remove_dir_all(dir.path().join(gone)).unwrap();
        }
        let error = refused(&fixture, dir.path()).await;
        assert!(
            matches!(&error, StartError::Foreign { path, detail } if path == dir.path() && detail.contains("STORE")),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_store_that_was_not_made_to_the_end_is_made_anew() {
    let fixture = Fixture::new(10, 4, 2);
    let whole = tempfile::tempdir().unwrap();
    Craft::new_store(whole.path(), &fixture);
    // What a crash at any step of making it may leave.
    for missing in [&["STORE"][..], &["STORE", "committee.json"], &["STORE", "committee.json", "blocks"]] {
        let dir = tempfile::tempdir().unwrap();
        copy(whole.path(), dir.path());
        fs::write(dir.path().join("STORE.tmp"), b"{\"magic").unwrap();
        for name in missing {
            let path = dir.path().join(name);
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
        let rig = Rig::in_dir(fixture.clone(), settings(), dir).await.unwrap();
        assert_eq!(rig.recovered().reconcile_case, "1");
        rig.push_all().await;
        let rig = rig.restarted().await;
        assert_eq!(rig.recovered().next_block, rig.fixture.end());
    }
}

// ---- in use ----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_directory_in_use_is_refused_and_its_holder_is_not_disturbed() {
    let rig = Rig::on_disk(Fixture::new(11, 4, 2)).await;
    rig.push(&rig.fixture.chain[0]).await.unwrap();
    let error = start(&rig.fixture, rig.dir(), settings()).await.unwrap_err();
    let holder = format!("this process {}", std::process::id());
    assert!(
        matches!(&error, StartError::InUse { path, holder: found } if path == rig.dir() && found.starts_with(&holder)),
        "{error:?}"
    );
    rig.push(&rig.fixture.chain[1]).await.unwrap();
    rig.execute(rig.nth(19)).await.unwrap();
    let rig = rig.restarted().await;
    assert_eq!(rig.recovered().next_block, rig.nth(20));
}

#[tokio::test]
async fn a_lock_that_another_process_holds_is_refused_by_its_name() {
    let (fixture, dir) = stored(Fixture::new(12, 4, 2)).await;
    for lock in ["LOCK", "qcs/LOCK", "blocks/LOCK"] {
        let path = dir.path().join(lock);
        fs::write(&path, "process 4711\n").unwrap();
        let held = File::options().write(true).open(&path).unwrap();
        held.lock().unwrap();
        let error = refused(&fixture, dir.path()).await;
        assert!(
            matches!(&error, StartError::InUse { holder, .. } if holder == "process 4711"),
            "{lock}: {error:?}"
        );
    }
    start(&fixture, dir.path(), settings()).await.unwrap();
}

// ---- the marker ------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_damaged_marker_is_refused() {
    let (fixture, dir) = stored(Fixture::new(13, 4, 2)).await;
    let marker = dir.path().join("STORE");
    let good = fs::read_to_string(&marker).unwrap();
    let damaged = [
        String::new(),
        "garbage".to_owned(),
        good[..good.len() / 2].to_owned(),
        good.replace("roadbed.store", "toadbed.store"),
        good.replace("\"chain\"", "\"chin\""),
        good.replace("\"format\": 1", "\"format\": 0"),
        format!("{good}more"),
    ];
    for content in damaged {
        assert_ne!(content, good);
        fs::write(&marker, &content).unwrap();
        let error = refused(&fixture, dir.path()).await;
        let named = marker.display().to_string();
        assert!(
            matches!(&error, StartError::Corrupt { detail } if detail.contains(&named) && detail.contains("backup")),
            "{content}: {error:?}"
        );
    }
    fs::write(&marker, good).unwrap();
    start(&fixture, dir.path(), settings()).await.unwrap();
}

#[tokio::test]
async fn a_newer_format_is_refused_untouched() {
    let (fixture, dir) = stored(Fixture::new(14, 4, 2)).await;
    let marker = dir.path().join("STORE");
    let good = fs::read_to_string(&marker).unwrap();
    // Whatever else a newer version may write into it.
    let newer = good.replace("\"format\": 1", "\"format\": 2, \"compression\": \"zstd\"");
    assert_ne!(newer, good);
    fs::write(&marker, newer).unwrap();
    let error = refused(&fixture, dir.path()).await;
    assert!(matches!(&error, StartError::NewerFormat { path, .. } if *path == marker), "{error:?}");
    assert!(error.to_string().contains("upgrade"), "{error}");
}

// ---- damaged logs ----------------------------------------------------------------------------------------------

/// The file that holds an entry of a log, and where in it these bytes of the entry are.
fn place_of(craft: &Craft, wal: WalKind, bytes: &[u8]) -> (PathBuf, usize) {
    craft
        .segments(wal)
        .into_iter()
        .find_map(|path| {
            let file = fs::read(&path).unwrap();
            let at = file.windows(bytes.len()).position(|window| window == bytes)?;
            Some((path, at))
        })
        .expect("the bytes are in one of the segments")
}

#[tokio::test]
async fn damage_within_the_window_is_refused_with_its_place() {
    let (fixture, dir) = stored(Fixture::new(15, 4, 12)).await;
    let craft = Craft::new(dir.path(), &fixture);
    let block = codec::encode(&**fixture.block(BlockNumber(60)));
    let qc = codec::encode(&**fixture.qc_of(BlockNumber(60)));
    for (wal, entry) in [(WalKind::Blocks, block), (WalKind::Qcs, qc)] {
        let (path, at) = place_of(&craft, wal, &entry);
        flip(&path, at + entry.len() / 2);
        match refused(&fixture, dir.path()).await {
            StartError::Corrupt { detail } => {
                assert!(detail.contains(&path.display().to_string()), "{detail}");
            }
            other => panic!("{other:?}"),
        }
        flip(&path, at + entry.len() / 2);
    }
    start(&fixture, dir.path(), settings()).await.unwrap();
}

#[tokio::test]
async fn a_record_with_good_checksums_that_does_not_verify_is_refused() {
    let fixture = Fixture::new(16, 4, 3);
    let forged_qc = codec::encode(&testing::outsider_signed(&fixture.members, &fixture.chain[2].0));
    let forged_block = codec::encode(&testing::wrong_payload(fixture.block(BlockNumber(20))));
    let other_block = codec::encode(&**fixture.block(BlockNumber(25)));
    let forgeries = [
        (WalKind::Qcs, 2, 30, forged_qc),
        (WalKind::Blocks, 20, 21, forged_block),
        (WalKind::Blocks, 20, 21, other_block),
        (WalKind::Blocks, 20, 21, b"no block".to_vec()),
        (WalKind::Qcs, 2, 30, b"no QC".to_vec()),
    ];
    for (wal, index, key, payload) in forgeries {
        let dir = tempfile::tempdir().unwrap();
        let craft = Craft::new_store(dir.path(), &fixture);
        craft.qcs(0..if wal == WalKind::Qcs { 2 } else { 3 }).blocks(0..20);
        craft.with_log(wal, |log| {
            log.append(index, Entry { key, digest: 0, payload: &payload }).unwrap();
        });
        match refused(&fixture, dir.path()).await {
            StartError::Corrupt { detail } => {
                assert!(
                    detail.contains(&format!("entry {index}")) && detail.contains("roadbed verify"),
                    "{detail}"
                );
            }
            other => panic!("{wal}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_record_with_good_checksums_older_than_the_window_is_verified_before_it_is_served() {
    let fixture = Fixture::new(18, 4, 12);
    let forged = codec::encode(&testing::outsider_signed(&fixture.members, &fixture.chain[2].0));
    let other = codec::encode(&**fixture.block(BlockNumber(45)));
    let dir = tempfile::tempdir().unwrap();
    let craft = Craft::new_store(dir.path(), &fixture);
    craft.qcs(0..2).blocks(0..44);
    craft.with_log(WalKind::Qcs, |log| {
        log.append(2, Entry { key: 30, digest: 0, payload: &forged }).unwrap();
        craft.append_qcs(log, 3..12);
    });
    craft.with_log(WalKind::Blocks, |log| {
        log.append(44, Entry { key: 45, digest: 0, payload: &other }).unwrap();
        craft.append_blocks(log, 45..120);
    });

    let rig = Rig::in_dir(fixture, Config { window_blocks: 20, ..settings() }, dir).await.unwrap();
    for number in (0..120).map(BlockNumber) {
        let forged = (20..30).contains(&number.0);
        match rig.ask(GetQc { number }).await {
            Ok(qc) => assert!(!forged && &qc == rig.fixture.qc_of(number), "{number}"),
            Err(error) => assert!(forged && matches!(error, Error::Damaged { .. }), "{number}: {error:?}"),
        }
        match rig.ask(GetBlock { number }).await {
            Ok(block) => assert_eq!(&block, rig.fixture.block(number)),
            Err(error) => {
                assert!(forged || number.0 == 44, "{number}: {error:?}");
                assert!(matches!(error, Error::Damaged { .. }), "{number}: {error:?}");
            }
        }
    }
}

#[tokio::test]
async fn damage_older_than_the_window_is_found_when_it_is_read_and_never_served() {
    let config = Config { window_blocks: 20, ..settings() };
    let rig = Rig::configured(Fixture::new(17, 4, 12), config.clone()).await;
    for (qc, last) in rig.fixture.chain.iter().zip((0..).map(|qc| rig.nth(qc * 10 + 9))) {
        rig.push(qc).await.unwrap();
        rig.execute(last).await.unwrap();
    }
    let (fixture, dir) = rig.ended().await;
    let craft = Craft::new(dir.path(), &fixture);
    let damaged = BlockNumber(33);
    let (path, at) = place_of(&craft, WalKind::Blocks, &codec::encode(&**fixture.block(damaged)));
    flip(&path, at + 200);
    let (qc_path, qc_at) = place_of(&craft, WalKind::Qcs, &codec::encode(&*fixture.chain[5].0));
    flip(&qc_path, qc_at + 200);

    let rig = Rig::in_dir(fixture, config.clone(), dir).await.unwrap();
    for number in (0..120).map(BlockNumber) {
        match rig.ask(GetBlock { number }).await {
            Ok(block) => assert_eq!(&block, rig.fixture.block(number)),
            Err(Error::Damaged { number: named, .. }) => {
                assert_eq!(named, number);
                assert!(number == damaged || (50..60).contains(&number.0), "{number}");
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    let refused = rig.ask(GetBlock { number: damaged }).await;
    assert!(
        matches!(&refused, Err(error @ Error::Damaged { .. }) if error.to_string().contains("roadbed verify"))
    );
    // A stream ends there, with the same error.
    let mut stream = rig.roadbed.subscribe(BlockNumber(30), false);
    for number in 30..33 {
        assert_eq!(stream.next().await.unwrap().number, BlockNumber(number));
    }
    assert!(matches!(stream.next().await, Err(Error::Damaged { number, .. }) if number == damaged));
    let (fixture, dir) = rig.ended().await;

    // Under the setting the start looks at everything.
    let all = Config { verify_all_on_start: true, ..config };
    let before = Files::of(dir.path());
    let error = start(&fixture, dir.path(), all).await.unwrap_err();
    assert!(matches!(error, StartError::Corrupt { .. }), "{error:?}");
    assert_eq!(Files::of(dir.path()), before);
}

#[tokio::test]
async fn a_flipped_bit_anywhere_is_refused_or_harmless_and_never_served() {
    let (fixture, whole) = stored(Fixture::new(18, 4, 8)).await;
    let craft = Craft::new(whole.path(), &fixture);
    let mut outcomes = [0, 0];
    for wal in WalKind::BOTH {
        for segment in craft.segments(wal) {
            let bytes = fs::read(&segment).unwrap();
            let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
            for offset in (5..=used).step_by(1489) {
                let dir = tempfile::tempdir().unwrap();
                copy(whole.path(), dir.path());
                let damaged = dir.path().join(segment.strip_prefix(whole.path()).unwrap());
                flip(&damaged, offset);
                let before = Files::of(dir.path());
                match Rig::in_dir(fixture.clone(), settings(), dir).await {
                    Ok(rig) => {
                        outcomes[0] += 1;
                        rig.serves_what_it_retains().await;
                    }
                    Err((
                        StartError::Corrupt { .. }
                        | StartError::Foreign { .. }
                        | StartError::NewerFormat { .. },
                        dir,
                    )) => {
                        outcomes[1] += 1;
                        assert_eq!(Files::of(dir.path()), before);
                    }
                    Err((other, _)) => panic!("{} at {offset}: {other:?}", segment.display()),
                }
            }
        }
    }
    // Padding is harmless, everything else is not.
    assert!(outcomes.iter().all(|count| *count > 3), "{outcomes:?}");
}

// ---- settings --------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_wrong_setting_is_refused_by_its_name_before_anything_is_made() {
    let fixture = Fixture::new(19, 4, 1);
    let parent = tempfile::tempdir().unwrap();
    type Change = fn(&mut Config);
    let wrong: [(&str, Change); 17] = [
        ("window_blocks", |config| config.window_blocks = 0),
        ("bound", |config| config.bounds.push_qc.calls_max = 0),
        ("bound", |config| config.bounds.push_block.calls_max = 0),
        ("bound", |config| config.bounds.push_app_hash.calls_max = 0),
        ("bound", |config| config.bounds.get.calls_max = 0),
        ("bound", |config| config.bounds.prune.calls_max = 0),
        ("verify_jobs_max", |config| config.verify_jobs_max = 0),
        ("verify_threads", |config| config.verify_threads = 0),
        ("read_threads", |config| config.read_threads = 0),
        ("segment_bytes", |config| config.segment_bytes = 60 << 10),
        ("segment_bytes", |config| config.segment_bytes = (64 << 10) + 1),
        ("segment_bytes", |config| config.segment_bytes = 1 << 41),
        ("group_bytes_max", |config| config.group_bytes_max = 0),
        ("backoff_min", |config| config.restart.backoff_min = config.restart.backoff_max * 2),
        ("hung_after", |config| config.hung_after = config.give_up_after * 2),
        ("beat_interval", |config| config.beat_interval = Duration::ZERO),
        ("retention", |config| {
            config.retention = RetentionPolicy { blocks_max: Some(0), ..RetentionPolicy::default() };
        }),
    ];
    for (name, change) in wrong {
        let mut config = settings();
        change(&mut config);
        let error = start(&fixture, &parent.path().join("store"), config).await.unwrap_err();
        assert!(matches!(&error, StartError::Config(rule) if rule.contains(name)), "{name}: {error:?}");
        assert_eq!(Files::of(parent.path()).names(parent.path()), Vec::<String>::new());
    }
    // What is at its bound is taken.
    let least = Config { window_blocks: 1, verify_jobs_max: 1, read_threads: 1, ..settings() };
    start(&fixture, &parent.path().join("store"), least).await.unwrap();
}

#[tokio::test]
async fn a_builder_without_a_place_is_refused() {
    let error = Fixture::new(20, 4, 1).builder().start().await.map(|_| ()).unwrap_err();
    assert!(matches!(&error, StartError::Config(rule) if rule.contains("data_dir")), "{error:?}");
}
