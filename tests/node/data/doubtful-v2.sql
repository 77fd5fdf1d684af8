BEGIN TRANSACTION;
CREATE TABLE claims (name TEXT PRIMARY KEY, made_at TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "claims" VALUES('default/known-share/main:2','2026-11-30T23:05:22Z');
INSERT INTO "claims" VALUES('default/known/main:1','2026-11-30T23:05:21Z');
CREATE TABLE instances (
        gpu_uuid TEXT NOT NULL, profile_id INTEGER NOT NULL, start INTEGER NOT NULL,
        profile TEXT NOT NULL, size INTEGER NOT NULL, generation INTEGER NOT NULL, mig_uuid TEXT,
        PRIMARY KEY (gpu_uuid, profile_id, start)
    ) WITHOUT ROWID;
INSERT INTO "instances" VALUES('GPU-97d89820-c3ab-5ff2-bcbd-dfd3e873b2cf',19,6,'1g.5gb',1,1796079916,'MIG-4436ccf5-5a56-5d17-b0df-0dcf95d7c213');
CREATE TABLE journal (
        run INTEGER NOT NULL REFERENCES runs (run) ON DELETE CASCADE, position INTEGER NOT NULL,
        prior BLOB NOT NULL, generation INTEGER NOT NULL, state TEXT NOT NULL, mig_uuid TEXT,
        PRIMARY KEY (run, position)
    ) WITHOUT ROWID;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "meta" VALUES('adopting','the ledger was lost');
INSERT INTO "meta" VALUES('boot_id','BOOT-ID');
INSERT INTO "meta" VALUES('generation','1796079916');
INSERT INTO "meta" VALUES('opens_from','1');
CREATE TABLE owners (
        claim TEXT PRIMARY KEY REFERENCES claims (name) ON DELETE CASCADE,
        owner BLOB NOT NULL, pending INTEGER NOT NULL, granted BLOB
    ) WITHOUT ROWID;
INSERT INTO "owners" VALUES('default/known-share/main:2',CAST('{"uid":"0ea6cfcc-0fe9-495d-83f7-d7a1472403bd","namespace":"default","name":"known-share","container":"main","index":0,"resource":"nvidia.com/gpu","device_ids":["GPU-34e82f68-80c6-56cb-a998-cabab61ddcf9-0"],"asked":{"count":1,"memory_mib":3000,"memory_percent":null,"cores_percent":0,"priority":null,"mode":null,"use_types":[],"avoid_types":[],"use_uuids":[],"avoid_uuids":[]},"folder":"0ea6cfcc-0fe9-495d-83f7-d7a1472403bd_main","earlier":[],"sure":true,"confirmed":true,"granted_at":1796079921.9875503,"boot_id":"BOOT-ID"}' AS BLOB),0,CAST('{"claim":"default/known-share/main:2","envs":{"CUDA_DEVICE_SM_LIMIT":"0","CUDA_DEVICE_ORDER":"PCI_BUS_ID","LIBCUDA_LOG_LEVEL":"1","NVIDIA_VISIBLE_DEVICES":"GPU-34e82f68-80c6-56cb-a998-cabab61ddcf9","CUDA_DEVICE_MEMORY_SHARED_CACHE":"/usr/local/vgpu/a44df208ae90ff1f3577280af4d1e1ff.cache","CUDA_DEVICE_MEMORY_LIMIT_0":"3000m","CUDA_DEVICE_SM_LIMIT_0":"0"},"mounts":[{"container_path":"/usr/local/vgpu/libvgpu.so","host_path":"/usr/local/vgpu/libvgpu.so.0.1.0","read_only":true},{"container_path":"/usr/local/vgpu","host_path":"/usr/local/vgpu/containers/0ea6cfcc-0fe9-495d-83f7-d7a1472403bd_main","read_only":false},{"container_path":"/tmp/vgpulock","host_path":"/tmp/vgpulock","read_only":false},{"container_path":"/etc/ld.so.preload","host_path":"/var/lib/hami/ld.so.preload","read_only":true}],"devices":[{"container_path":"/dev/nvidiactl","host_path":"/dev/nvidiactl","permissions":"rw"},{"container_path":"/dev/nvidia-uvm","host_path":"/dev/nvidia-uvm","permissions":"rw"},{"container_path":"/dev/nvidia-uvm-tools","host_path":"/dev/nvidia-uvm-tools","permissions":"rw"},{"container_path":"/dev/nvidia2","host_path":"/dev/nvidia2","permissions":"rw"}],"annotations":{},"cdi":[]}' AS BLOB));
INSERT INTO "owners" VALUES('default/known/main:1',CAST('{"uid":"28518869-575c-41e8-ab09-adf6a2678c16","namespace":"default","name":"known","container":"main","index":0,"resource":"nvidia.com/gpu","device_ids":["GPU-97d89820-c3ab-5ff2-bcbd-dfd3e873b2cf-0"],"asked":{"count":1,"memory_mib":null,"memory_percent":null,"cores_percent":0,"priority":null,"mode":null,"use_types":[],"avoid_types":[],"use_uuids":[],"avoid_uuids":[]},"folder":"28518869-575c-41e8-ab09-adf6a2678c16_main","earlier":[],"sure":true,"confirmed":true,"granted_at":1796079921.9875503,"boot_id":"BOOT-ID"}' AS BLOB),0,CAST('{"claim":"default/known/main:1","envs":{"NVIDIA_VISIBLE_DEVICES":"MIG-4436ccf5-5a56-5d17-b0df-0dcf95d7c213"},"mounts":[],"devices":[{"container_path":"/dev/nvidiactl","host_path":"/dev/nvidiactl","permissions":"rw"},{"container_path":"/dev/nvidia-uvm","host_path":"/dev/nvidia-uvm","permissions":"rw"},{"container_path":"/dev/nvidia-uvm-tools","host_path":"/dev/nvidia-uvm-tools","permissions":"rw"},{"container_path":"/dev/nvidia0","host_path":"/dev/nvidia0","permissions":"rw"},{"container_path":"/dev/nvidia-caps/nvidia-cap120","host_path":"/dev/nvidia-caps/nvidia-cap120","permissions":"rw"},{"container_path":"/dev/nvidia-caps/nvidia-cap121","host_path":"/dev/nvidia-caps/nvidia-cap121","permissions":"rw"}],"annotations":{},"cdi":[]}' AS BLOB));
CREATE TABLE runs (
        run INTEGER PRIMARY KEY AUTOINCREMENT, boot_id TEXT NOT NULL, goal TEXT NOT NULL,
        claim TEXT, claim_seats BLOB NOT NULL, steps BLOB NOT NULL,
        pid INTEGER NOT NULL, command TEXT NOT NULL, begun_at TEXT NOT NULL, ended TEXT
    );
INSERT INTO "runs" VALUES(1,'BOOT-ID','all',NULL,CAST('[]' AS BLOB),CAST('[]' AS BLOB),13650,'/python /hamid --sim /node --kubelet-root ','2026-11-30T23:05:21Z','adopted');
INSERT INTO "runs" VALUES(2,'BOOT-ID','all',NULL,CAST('[]' AS BLOB),CAST('[]' AS BLOB),13650,'/python /hamid --sim /node --kubelet-root ','2026-11-30T23:05:22Z','adopted');
CREATE TABLE seats (
        gpu_uuid TEXT NOT NULL, profile_id INTEGER NOT NULL, start INTEGER NOT NULL,
        claim TEXT NOT NULL REFERENCES claims (name) ON DELETE CASCADE,
        profile TEXT NOT NULL, size INTEGER NOT NULL, made INTEGER NOT NULL, mig_uuid TEXT,
        PRIMARY KEY (gpu_uuid, profile_id, start)
    ) WITHOUT ROWID;
INSERT INTO "seats" VALUES('GPU-97d89820-c3ab-5ff2-bcbd-dfd3e873b2cf',19,6,'default/known/main:1','1g.5gb',1,1,'MIG-4436ccf5-5a56-5d17-b0df-0dcf95d7c213');
CREATE TABLE shares (
        claim TEXT NOT NULL REFERENCES claims (name) ON DELETE CASCADE, position INTEGER NOT NULL,
        gpu_uuid TEXT NOT NULL, memory_mib INTEGER NOT NULL, sm_percent INTEGER NOT NULL,
        PRIMARY KEY (claim, position)
    ) WITHOUT ROWID;
INSERT INTO "shares" VALUES('default/known-share/main:2',0,'GPU-34e82f68-80c6-56cb-a998-cabab61ddcf9',3000,0);
CREATE TABLE unexplained (
        gpu_uuid TEXT NOT NULL, profile_id INTEGER NOT NULL, start INTEGER NOT NULL,
        PRIMARY KEY (gpu_uuid, profile_id, start)
    ) WITHOUT ROWID;
INSERT INTO "unexplained" VALUES('GPU-97d89820-c3ab-5ff2-bcbd-dfd3e873b2cf',14,4);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('runs',2);
COMMIT;
PRAGMA user_version = 2;
