//! A file system of its own in a file: mounted, shut down as by a power cut, unmounted.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

use super::server::TempDir;

/// Whether images can be mounted here; says so when not.
pub fn can_mount() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: mounting an image needs root");
    }
    root
}

/// A mounted image; unmounted and removed with its owner.
#[derive(Debug)]
pub struct Image {
    home: TempDir,
    file: PathBuf,
    mounted: PathBuf,
}

impl Image {
    /// Makes and mounts a file system of `mebibytes` with `mkfs`.
    pub fn new(mkfs: &[&str], mebibytes: u64) -> Image {
        Image::in_home(TempDir::new(), mkfs, mebibytes)
    }

    /// The same on a disk that has less room than it says, as one of a thinly provisioned pool:
    /// once that is [taken](Image::take_the_room), syncs fail, and what was read or written
    /// before is read all the same.
    pub fn thin(mkfs: &[&str], mebibytes: u64, room_mebibytes: u64) -> Image {
        let home = TempDir::new();
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={room_mebibytes}m")])
            .arg("tmpfs")
            .arg(home.path()));
        Image::in_home(home, mkfs, mebibytes)
    }

    fn in_home(home: TempDir, mkfs: &[&str], mebibytes: u64) -> Image {
        let file = home.path().join("image");
        let mounted = home.path().join("mounted");
        std::fs::create_dir(&mounted).expect("the mount point can be created");
        let image = File::create(&file).expect("the image can be created");
        image
            .set_len(mebibytes << 20)
            .expect("the image can be sparse");
        run(Command::new(mkfs[0]).args(&mkfs[1..]).arg(&file));
        let image = Image {
            home,
            file,
            mounted,
        };
        image.mount();
        image
    }

    /// Where the server may put its data.
    pub fn data(&self) -> PathBuf {
        self.mounted.join("data")
    }

    /// The root of the file system.
    pub fn root(&self) -> &Path {
        &self.mounted
    }

    /// Takes all room of a [thin](Image::thin) disk that the image has not taken.
    pub fn take_the_room(&self) {
        let mut ballast = File::create(self.home.path().join("ballast")).expect("it is created");
        let full = std::io::copy(&mut std::io::repeat(1), &mut ballast);
        let full = full.expect_err("the disk has an end").kind();
        assert_eq!(full, std::io::ErrorKind::StorageFull);
    }

    /// Stops the file system where it is: nothing that was not synced reaches the image.
    pub fn cut_power(&self) {
        // EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN are one number; flag 2: the log is not flushed.
        let script = "import fcntl, os, struct, sys\n\
                      fd = os.open(sys.argv[1], os.O_RDONLY)\n\
                      fcntl.ioctl(fd, 0x8004587d, struct.pack('I', 2))";
        run(Command::new("python3")
            .args(["-c", script])
            .arg(&self.mounted));
    }

    /// Unmounts and mounts again, as after a restart of the machine.
    pub fn remount(&self) {
        self.unmount().expect("nobody uses the image any more");
        self.mount();
    }

    fn mount(&self) {
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&self.file)
            .arg(&self.mounted));
    }

    /// Tried for a while: a killed server's io_uring is taken down after its end.
    fn unmount(&self) -> Result<(), String> {
        let mut said = String::new();
        for _ in 0..200 {
            let output = Command::new("umount")
                .arg(&self.mounted)
                .output()
                .expect("umount is there");
            if output.status.success() {
                return Ok(());
            }
            said = String::from_utf8_lossy(&output.stderr).into_owned();
            std::thread::sleep(std::time::Duration::from_millis(25));
        }
        Err(said)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.unmount().is_err() {
            // A failure here would hide the failure of the test.
            let _ = Command::new("umount")
                .arg("--lazy")
                .arg(&self.mounted)
                .status();
        }
        // What a thin image lies on; any other home is no mount point, and nothing happens.
        let _ = Command::new("umount")
            .args(["--lazy", "--quiet"])
            .arg(self.home.path())
            .status();
    }
}

fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}
