//! Channels between cores that hold one or two parcels: slower, never stuck.

mod support;

use std::thread;

use support::{
    client::{Expected, request},
    server::{Launch, TempDir},
};

/// Every connection writes and reads ids of all cores, so that calls and answers
/// cross in both directions while the channels are full.
#[test]
fn full_channels_in_both_directions_stop_nobody() {
    for parcels_max in ["1", "2"] {
        let data = TempDir::new();
        let server = Launch::serve(data.path())
            .cores(2)
            .args(&["--mesh-parcels-max", parcels_max, "--fsync", "never"])
            .start();
        thread::scope(|scope| {
            for connection in 0..8 {
                let mut client = server.connect();
                scope.spawn(move || {
                    for round in 0..20 {
                        let mut burst = Vec::new();
                        for n in 0..100 {
                            let target = format!("/docs/{}", connection * 1000 + n);
                            let body = format!("{round}");
                            burst.extend(request("PUT", &target, &[], body.as_bytes()));
                            burst.extend(request("GET", &target, &[], b""));
                        }
                        let mut sender = client.sender();
                        let sending = thread::spawn(move || {
                            std::io::Write::write_all(&mut sender, &burst).expect("open");
                        });
                        for _ in 0..100 {
                            let put = client.read(Expected::Body);
                            assert!(matches!(put.status, 200 | 201), "{put:?}");
                            let get = client.read(Expected::Body);
                            assert_eq!((get.status, get.text()), (200, &*round.to_string()));
                        }
                        sending.join().expect("everything was sent");
                    }
                });
            }
        });
        server.stop();
    }
}
