//! What does a restart cost for each record: read, checked, put into the index?

use std::{sync::Arc, time::Instant};

use oxdaas::{
    id::Id,
    log::{Directory, Writer, encode, recover, scan_all, survey},
    shard::Shard,
};

use crate::{log_append::Scratch, log_codec::draft, meter::Meter, shard_cold::RULES};

const RECORDS: u32 = 100_000;

pub fn run(meter: &Meter) {
    if !meter.wants("log recovery: scan") && !meter.wants("log recovery: scan and index") {
        return;
    }
    let scratch = Scratch::new();
    let disk = Arc::new(Directory::open(scratch.path()).expect("a new directory"));
    let verdict = recover(&*disk, &mut |_, _| {}).expect("an empty log");
    let mut writer =
        Writer::open(Arc::clone(&disk), &verdict, 16 << 20).expect("the disk has room");
    for n in 0..RECORDS {
        let mut record = Vec::new();
        encode(&mut record, &draft(&Id::Integer(n.into()), &[b'7'; 32]));
        writer.append(&record).expect("they fit one segment");
    }
    meter.sample("log recovery: scan", RECORDS, || {
        let began = Instant::now();
        let mut bytes = 0;
        let found = survey(&*disk).expect("a whole log");
        scan_all(&*disk, &found, &mut |record, _| {
            bytes += record.document.len()
        })
        .expect("a whole log");
        began.elapsed()
    });
    meter.sample("log recovery: scan and index", RECORDS, || {
        let mut shard: Shard<()> = Shard::new(RULES);
        let began = Instant::now();
        let found = survey(&*disk).expect("a whole log");
        scan_all(&*disk, &found, &mut |record, at| {
            shard.restore_put(
                &record.id.to_id(),
                record.version,
                at,
                record.document,
                None,
            );
        })
        .expect("a whole log");
        began.elapsed()
    });
}
