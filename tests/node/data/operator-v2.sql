BEGIN TRANSACTION;
CREATE TABLE claims (name TEXT PRIMARY KEY, made_at TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "claims" VALUES('first','2026-11-30T23:04:47Z');
INSERT INTO "claims" VALUES('unidentified:4','2026-11-30T23:04:54Z');
CREATE TABLE instances (
        gpu_uuid TEXT NOT NULL, profile_id INTEGER NOT NULL, start INTEGER NOT NULL,
        profile TEXT NOT NULL, size INTEGER NOT NULL, generation INTEGER NOT NULL, mig_uuid TEXT,
        PRIMARY KEY (gpu_uuid, profile_id, start)
    ) WITHOUT ROWID;
INSERT INTO "instances" VALUES('GPU-8fda428c-4084-5dc8-b5a0-775d622f7fe1',14,0,'2g.10gb',2,6,'MIG-52a0de65-8f1e-5d7c-9680-00b92b1d1b8c');
INSERT INTO "instances" VALUES('GPU-97d89820-c3ab-5ff2-bcbd-dfd3e873b2cf',19,4,'1g.5gb',1,5,'MIG-ba6e0047-8997-5490-91aa-6527685df814');
INSERT INTO "instances" VALUES('GPU-97d89820-c3ab-5ff2-bcbd-dfd3e873b2cf',19,6,'1g.5gb',1,2,'MIG-4436ccf5-5a56-5d17-b0df-0dcf95d7c213');
CREATE TABLE journal (
        run INTEGER NOT NULL REFERENCES runs (run) ON DELETE CASCADE, position INTEGER NOT NULL,
        prior BLOB NOT NULL, generation INTEGER NOT NULL, state TEXT NOT NULL, mig_uuid TEXT,
        PRIMARY KEY (run, position)
    ) WITHOUT ROWID;
INSERT INTO "journal" VALUES(1,0,CAST('{"mode":false,"existed":false,"whole":false,"own":null}' AS BLOB),1,'done',NULL);
INSERT INTO "journal" VALUES(1,1,CAST('{"mode":false,"existed":false,"whole":false,"own":null}' AS BLOB),2,'done','MIG-4436ccf5-5a56-5d17-b0df-0dcf95d7c213');
INSERT INTO "journal" VALUES(2,0,CAST('{"mode":false,"existed":false,"whole":false,"own":null}' AS BLOB),4,'done',NULL);
INSERT INTO "journal" VALUES(3,0,CAST('{"mode":false,"existed":false,"whole":false,"own":null}' AS BLOB),3,'done',NULL);
INSERT INTO "journal" VALUES(4,0,CAST('{"mode":false,"existed":false,"whole":false,"own":null}' AS BLOB),5,'done','MIG-ba6e0047-8997-5490-91aa-6527685df814');
INSERT INTO "journal" VALUES(5,0,CAST('{"mode":false,"existed":false,"whole":false,"own":null}' AS BLOB),6,'done','MIG-52a0de65-8f1e-5d7c-9680-00b92b1d1b8c');
INSERT INTO "journal" VALUES(5,1,CAST('{"mode":false,"existed":false,"whole":false,"own":null}' AS BLOB),7,'begin',NULL);
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "meta" VALUES('boot_id','BOOT-ID');
INSERT INTO "meta" VALUES('generation','7');
INSERT INTO "meta" VALUES('opens_from','1');
CREATE TABLE owners (
        claim TEXT PRIMARY KEY REFERENCES claims (name) ON DELETE CASCADE,
        owner BLOB NOT NULL, pending INTEGER NOT NULL, granted BLOB
    ) WITHOUT ROWID;
INSERT INTO "owners" VALUES('unidentified:4',CAST('{"uid":"","namespace":"","name":"","container":"","index":null,"resource":"nvidia.com/gpu","device_ids":["GPU-97d89820-c3ab-5ff2-bcbd-dfd3e873b2cf-0"],"asked":{"count":1,"memory_mib":4000,"memory_percent":null,"cores_percent":0,"priority":null,"mode":null,"use_types":[],"avoid_types":[],"use_uuids":[],"avoid_uuids":[]},"folder":"unidentified-a16659de961168c1","earlier":[],"sure":true,"confirmed":false,"granted_at":1796079894.142351,"boot_id":"BOOT-ID"}' AS BLOB),0,CAST('{"claim":"unidentified:4","envs":{"NVIDIA_VISIBLE_DEVICES":"MIG-ba6e0047-8997-5490-91aa-6527685df814"},"mounts":[],"devices":[{"container_path":"/dev/nvidiactl","host_path":"/dev/nvidiactl","permissions":"rw"},{"container_path":"/dev/nvidia-uvm","host_path":"/dev/nvidia-uvm","permissions":"rw"},{"container_path":"/dev/nvidia-uvm-tools","host_path":"/dev/nvidia-uvm-tools","permissions":"rw"},{"container_path":"/dev/nvidia0","host_path":"/dev/nvidia0","permissions":"rw"},{"container_path":"/dev/nvidia-caps/nvidia-cap102","host_path":"/dev/nvidia-caps/nvidia-cap102","permissions":"rw"},{"container_path":"/dev/nvidia-caps/nvidia-cap103","host_path":"/dev/nvidia-caps/nvidia-cap103","permissions":"rw"}],"annotations":{},"cdi":[]}' AS BLOB));
CREATE TABLE runs (
        run INTEGER PRIMARY KEY AUTOINCREMENT, boot_id TEXT NOT NULL, goal TEXT NOT NULL,
        claim TEXT, claim_seats BLOB NOT NULL, steps BLOB NOT NULL,
        pid INTEGER NOT NULL, command TEXT NOT NULL, begun_at TEXT NOT NULL, ended TEXT
    );
INSERT INTO "runs" VALUES(1,'BOOT-ID','all','first',CAST('[{"gpu_uuid":"GPU-97d89820-c3ab-5ff2-bcbd-dfd3e873b2cf","profile_id":19,"start":6}]' AS BLOB),CAST('[{"type":"SetMigMode","gpu_uuid":"GPU-97d89820-c3ab-5ff2-bcbd-dfd3e873b2cf","gpu_index":0,"enabled":true},{"type":"CreateInstance","gpu_uuid":"GPU-97d89820-c3ab-5ff2-bcbd-dfd3e873b2cf","gpu_index":0,"profile":"1g.5gb","profile_id":19,"placement":{"start":6,"size":1}}]' AS BLOB),11708,'/python /hamictl --sim /node mig apply --mem 4000 --name first --yes','2026-11-30T23:04:47Z','done');
INSERT INTO "runs" VALUES(2,'BOOT-ID','each',NULL,CAST('[]' AS BLOB),CAST('[{"type":"SetMigMode","gpu_uuid":"GPU-8fda428c-4084-5dc8-b5a0-775d622f7fe1","gpu_index":1,"enabled":true}]' AS BLOB),11902,'/python /hamid --sim /node --kubelet-root ','2026-11-30T23:04:52Z','done');
INSERT INTO "runs" VALUES(3,'BOOT-ID','each',NULL,CAST('[]' AS BLOB),CAST('[{"type":"SetMigMode","gpu_uuid":"GPU-9658be36-70a7-5fab-9b4d-8e7a72bec66b","gpu_index":3,"enabled":true}]' AS BLOB),11902,'/python /hamid --sim /node --kubelet-root ','2026-11-30T23:04:52Z','done');
INSERT INTO "runs" VALUES(4,'BOOT-ID','all','unidentified:4',CAST('[{"gpu_uuid":"GPU-97d89820-c3ab-5ff2-bcbd-dfd3e873b2cf","profile_id":19,"start":4}]' AS BLOB),CAST('[{"type":"CreateInstance","gpu_uuid":"GPU-97d89820-c3ab-5ff2-bcbd-dfd3e873b2cf","gpu_index":0,"profile":"1g.5gb","profile_id":19,"placement":{"start":4,"size":1}}]' AS BLOB),11902,'/python /hamid --sim /node --kubelet-root ','2026-11-30T23:04:54Z','done');
INSERT INTO "runs" VALUES(5,'BOOT-ID','all','second',CAST('[{"gpu_uuid":"GPU-8fda428c-4084-5dc8-b5a0-775d622f7fe1","profile_id":14,"start":0},{"gpu_uuid":"GPU-8fda428c-4084-5dc8-b5a0-775d622f7fe1","profile_id":14,"start":2}]' AS BLOB),CAST('[{"type":"CreateInstance","gpu_uuid":"GPU-8fda428c-4084-5dc8-b5a0-775d622f7fe1","gpu_index":1,"profile":"2g.10gb","profile_id":14,"placement":{"start":0,"size":2}},{"type":"CreateInstance","gpu_uuid":"GPU-8fda428c-4084-5dc8-b5a0-775d622f7fe1","gpu_index":1,"profile":"2g.10gb","profile_id":14,"placement":{"start":2,"size":2}}]' AS BLOB),12283,'/python /hamictl --sim /node mig apply --mem 9000 --count 2 --name second --yes','2026-11-30T23:04:57Z',NULL);
CREATE TABLE seats (
        gpu_uuid TEXT NOT NULL, profile_id INTEGER NOT NULL, start INTEGER NOT NULL,
        claim TEXT NOT NULL REFERENCES claims (name) ON DELETE CASCADE,
        profile TEXT NOT NULL, size INTEGER NOT NULL, made INTEGER NOT NULL, mig_uuid TEXT,
        PRIMARY KEY (gpu_uuid, profile_id, start)
    ) WITHOUT ROWID;
INSERT INTO "seats" VALUES('GPU-97d89820-c3ab-5ff2-bcbd-dfd3e873b2cf',19,4,'unidentified:4','1g.5gb',1,1,'MIG-ba6e0047-8997-5490-91aa-6527685df814');
INSERT INTO "seats" VALUES('GPU-97d89820-c3ab-5ff2-bcbd-dfd3e873b2cf',19,6,'first','1g.5gb',1,1,'MIG-4436ccf5-5a56-5d17-b0df-0dcf95d7c213');
CREATE TABLE shares (
        claim TEXT NOT NULL REFERENCES claims (name) ON DELETE CASCADE, position INTEGER NOT NULL,
        gpu_uuid TEXT NOT NULL, memory_mib INTEGER NOT NULL, sm_percent INTEGER NOT NULL,
        PRIMARY KEY (claim, position)
    ) WITHOUT ROWID;
CREATE TABLE unexplained (
        gpu_uuid TEXT NOT NULL, profile_id INTEGER NOT NULL, start INTEGER NOT NULL,
        PRIMARY KEY (gpu_uuid, profile_id, start)
    ) WITHOUT ROWID;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('runs',5);
COMMIT;
PRAGMA user_version = 2;
