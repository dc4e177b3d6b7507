package desired

// fieldSection is a part of the table with a heading of its own in
// docs/compose.md.
type fieldSection struct {
	title  string
	fields []field
}

// What needs an entry in the trust policy shares one explanation.
const (
	noAllow     = "it weakens isolation, and there is no privilege for it yet; remove it"
	devOnly     = "keep it in compose.override.yaml, which docker compose reads and JACO does not"
	useCPULimit = "use deploy.resources.limits.cpus"
	givenByUs   = "addresses are given out by the cluster; use the service's name"
	windowsOnly = "remove it, it is for Windows containers"
)

func fieldSections() []fieldSection {
	return []fieldSection{
		{"Top level", topFields()},
		{"Services", serviceFields()},
		{"Services: container and process", processFields()},
		{"Services: networks and ports", serviceNetworkFields()},
		{"Services: storage", storageFields()},
		{"Services: isolation and resources", isolationFields()},
		{"Services: deploy", deployFields()},
		{"Networks", networkFields()},
		{"Volumes", volumeFields()},
		{"Secrets", secretFields()},
	}
}

func topFields() []field {
	return []field{
		{path: "name", verdict: ignored, note: "a deployment is named by its folder"},
		{path: "version", verdict: ignored, note: "obsolete, docker compose ignores it too"},
		{path: "services", verdict: honoured},
		{path: "networks", verdict: honoured},
		{path: "volumes", verdict: honoured},
		{path: "configs", verdict: planned, note: "put the file into the image or its content into environment"},
		{path: "secrets", verdict: honoured},
		{path: "include", verdict: planned, note: "put the services into this file"},
		{path: "jobs", verdict: planned, note: "run it by other means until then"},
		{path: "models", verdict: notPlanned, note: "run the model as a service"},
	}
}

func serviceFields() []field {
	const s = "services.*"
	return []field{
		{path: s, verdict: honoured, note: "letters, digits, `.`, `_` and `-`, at most 63 bytes"},
		{path: s + ".image", verdict: honoured, note: "required"},
		{path: s + ".build", verdict: ignored, note: "images are pulled, never built; without `image` it is refused"},
		{path: s + ".pull_policy", verdict: honoured, note: "`always`, `missing` (default), `if_not_present`, `never`; others are refused"},
		{path: s + ".pull_refresh_after", verdict: notPlanned, note: "change the tag or digest in the repository"},
		{path: s + ".platform", verdict: planned, note: "use deploy.placement.constraints on a node label"},
		{path: s + ".container_name", verdict: ignored, note: "every replica has a name of its own"},
		{path: s + ".depends_on", verdict: honoured},
		{path: s + ".depends_on.*", verdict: honoured},
		{path: s + ".depends_on.*.condition", verdict: honoured, note: "`service_started`, `service_healthy`; `service_completed_successfully` is refused, planned"},
		{path: s + ".depends_on.*.required", verdict: honoured},
		{path: s + ".depends_on.*.restart", verdict: notPlanned, note: "let the service reconnect to its dependency"},
		{path: s + ".restart", verdict: honoured, note: "`no`, `always`, `unless-stopped`, `on-failure[:max]`; deploy.restart_policy wins; without both a replica that ends is replaced"},
		{path: s + ".scale", verdict: notPlanned, note: "use deploy.replicas"},
		{path: s + ".profiles", verdict: notPlanned, note: "put such services into a deployment of their own"},
		{path: s + ".extends", verdict: planned, note: "use a YAML anchor and `<<`"},
		{path: s + ".develop", verdict: notPlanned, note: devOnly},
		{path: s + ".attach", verdict: notPlanned, note: devOnly},
		{path: s + ".provider", verdict: notPlanned, note: "run it as a container"},
		{path: s + ".models", verdict: notPlanned, note: "run the model as a service"},
		{path: s + ".pre_start", verdict: planned, note: "do it in the entrypoint"},
		{path: s + ".post_start", verdict: notPlanned, note: "do it in the entrypoint"},
		{path: s + ".pre_stop", verdict: notPlanned, note: "handle the stop signal in the process"},
		{path: s + ".logging", verdict: honoured, note: "without it json-file with 3 files of 10 MiB"},
		{path: s + ".logging.driver", verdict: honoured},
		{path: s + ".logging.options", verdict: honoured},
		{path: s + ".logging.options.*", verdict: honoured},
		{path: s + ".labels", verdict: honoured, note: "`sh.jaco.*` is refused"},
		{path: s + ".labels.*", verdict: honoured},
		{path: s + ".label_file", verdict: notPlanned, note: "write them under labels"},
		{path: s + ".annotations", verdict: notPlanned, note: "use labels"},
	}
}

func processFields() []field {
	const s = "services.*"
	return []field{
		{path: s + ".command", verdict: honoured, check: checkCommand},
		{path: s + ".entrypoint", verdict: honoured, check: checkCommand},
		{path: s + ".environment", verdict: honoured, note: "a name without a value takes it from the environment file, never from the host"},
		{path: s + ".environment.*", verdict: honoured},
		{path: s + ".env_file", verdict: honoured, note: "inside the deployment's folder; `*.sops.env` needs `allow: env-secrets`"},
		{path: s + ".env_file.[].path", verdict: honoured},
		{path: s + ".env_file.[].required", verdict: honoured},
		{path: s + ".env_file.[].format", verdict: notPlanned, note: "remove it, files are read as docker compose reads them"},
		{path: s + ".working_dir", verdict: honoured},
		{path: s + ".user", verdict: honoured},
		{path: s + ".group_add", verdict: planned, note: "give the image's user its groups"},
		{path: s + ".umask", verdict: notPlanned, note: "set it in the entrypoint"},
		{path: s + ".hostname", verdict: honoured},
		{path: s + ".domainname", verdict: notPlanned, note: "use hostname"},
		{path: s + ".init", verdict: honoured},
		{path: s + ".stop_signal", verdict: honoured},
		{path: s + ".stop_grace_period", verdict: honoured, note: "default 10s", check: checkDuration},
		{path: s + ".tty", verdict: ignored, note: "nobody is at a replica's terminal"},
		{path: s + ".stdin_open", verdict: ignored, note: "nobody types into a replica"},
		{path: s + ".healthcheck", verdict: honoured, note: "and run before Docker's first one, see above"},
		{path: s + ".healthcheck.disable", verdict: honoured},
		{path: s + ".healthcheck.test", verdict: honoured},
		{path: s + ".healthcheck.interval", verdict: honoured, note: "default 30s", check: checkDuration},
		{path: s + ".healthcheck.timeout", verdict: honoured, note: "default 30s", check: checkDuration},
		{path: s + ".healthcheck.retries", verdict: honoured, note: "default 3"},
		{path: s + ".healthcheck.start_period", verdict: honoured, check: checkDuration},
		{path: s + ".healthcheck.start_interval", verdict: planned, note: "engines before 25 do not know it; use interval and start_period"},
	}
}

func serviceNetworkFields() []field {
	const s = "services.*"
	const n = s + ".networks.*"
	return []field{
		{path: s + ".networks", verdict: honoured, note: "without it the network `default`"},
		{path: n, verdict: honoured},
		{path: n + ".aliases", verdict: honoured, note: "answered on every node"},
		{path: n + ".driver_opts", verdict: notPlanned, note: "remove it"},
		{path: n + ".gw_priority", verdict: notPlanned, note: "remove it"},
		{path: n + ".interface_name", verdict: notPlanned, note: "remove it"},
		{path: n + ".ipv4_address", verdict: notPlanned, note: givenByUs},
		{path: n + ".ipv6_address", verdict: notPlanned, note: givenByUs},
		{path: n + ".link_local_ips", verdict: notPlanned, note: givenByUs},
		{path: n + ".mac_address", verdict: notPlanned, note: givenByUs},
		{path: n + ".priority", verdict: notPlanned, note: "remove it"},
		{path: n + ".use_service_name_alias", verdict: notPlanned, note: "remove it"},
		{path: s + ".network_mode", verdict: honoured, note: "`none`; `host` needs `allow: network_mode:host`"},
		{path: s + ".mac_address", verdict: notPlanned, note: givenByUs},
		{path: s + ".ports", verdict: honoured, note: "published on the node of each replica, so a service with a fixed host port has one replica a node; ranges expand"},
		{path: s + ".ports.[]", verdict: honoured, check: checkPort},
		{path: s + ".ports.[].target", verdict: honoured},
		{path: s + ".ports.[].published", verdict: honoured, note: "one port; without it the engine chooses"},
		{path: s + ".ports.[].host_ip", verdict: honoured},
		{path: s + ".ports.[].protocol", verdict: honoured, note: "`tcp`, `udp`"},
		{path: s + ".ports.[].mode", verdict: honoured, note: "`host` and `ingress` mean the same, as for docker compose"},
		{path: s + ".ports.[].name", verdict: notPlanned, note: "remove it, it has no effect"},
		{path: s + ".ports.[].app_protocol", verdict: notPlanned, note: "remove it, it has no effect"},
		{path: s + ".expose", verdict: ignored, note: "services of one network reach each other on every port"},
		{path: s + ".links", verdict: ignored, note: "services of one network find each other by name"},
		{path: s + ".external_links", verdict: notPlanned, note: "put both services into one deployment"},
		{path: s + ".extra_hosts", verdict: honoured},
		{path: s + ".extra_hosts.*", verdict: honoured},
		{path: s + ".dns", verdict: honoured, note: "addresses; asked by the node for names that are not the cluster's, instead of its own resolvers"},
		{path: s + ".dns_opt", verdict: notPlanned, note: "configure the node's resolver"},
		{path: s + ".dns_search", verdict: honoured, note: "`.` alone is none"},
	}
}

func storageFields() []field {
	const s = "services.*"
	const v = s + ".volumes.[]"
	return []field{
		{path: s + ".volumes", verdict: honoured, note: "named and anonymous volumes and tmpfs; a path of the node needs `allow: bind:PATH`"},
		{path: v, verdict: honoured, check: checkVolume},
		{path: v + ".type", verdict: honoured, note: "`volume`, `tmpfs`, `bind`"},
		{path: v + ".source", verdict: honoured},
		{path: v + ".target", verdict: honoured},
		{path: v + ".read_only", verdict: honoured},
		{path: v + ".volume", verdict: honoured},
		{path: v + ".volume.nocopy", verdict: honoured},
		{path: v + ".volume.subpath", verdict: planned, note: "mount the whole volume"},
		{path: v + ".volume.labels", verdict: notPlanned, note: "label the volume under volumes"},
		{path: v + ".tmpfs", verdict: honoured},
		{path: v + ".tmpfs.size", verdict: honoured, check: checkBytes},
		{path: v + ".tmpfs.mode", verdict: honoured},
		{path: v + ".bind", verdict: honoured},
		{path: v + ".bind.propagation", verdict: honoured},
		{path: v + ".bind.create_host_path", verdict: honoured, note: "`false`, which is the default here: the path must be there, on every node where the service may run"},
		{path: v + ".bind.selinux", verdict: notPlanned, note: "label the path on the node"},
		{path: v + ".bind.recursive", verdict: notPlanned, note: "remove it, mounts below the path come along"},
		{path: v + ".image", verdict: planned, note: "put the files into the image"},
		{path: v + ".consistency", verdict: notPlanned, note: "remove it, it has no effect on Linux"},
		{path: s + ".tmpfs", verdict: honoured, note: "options `size` and `mode`"},
		{path: s + ".shm_size", verdict: honoured, check: checkBytes},
		{path: s + ".read_only", verdict: honoured},
		{path: s + ".configs", verdict: planned, note: "put the file into the image or its content into environment"},
		{path: s + ".secrets", verdict: honoured, note: "files on a tmpfs of the node, mounted read-only"},
		{path: s + ".secrets.[].source", verdict: honoured},
		{path: s + ".secrets.[].target", verdict: honoured, note: "default `/run/secrets/<source>`; a relative one is below `/run/secrets`"},
		{path: s + ".secrets.[].uid", verdict: honoured, note: "a number; default 0"},
		{path: s + ".secrets.[].gid", verdict: honoured, note: "a number; default 0"},
		{path: s + ".secrets.[].mode", verdict: honoured, note: "default 0444"},
		{path: s + ".storage_opt", verdict: notPlanned, note: "use a volume"},
		{path: s + ".volumes_from", verdict: notPlanned, note: "name the volume in both services"},
	}
}

func isolationFields() []field {
	const s = "services.*"
	return []field{
		{path: s + ".cap_drop", verdict: honoured},
		{path: s + ".cap_add", verdict: honoured, note: "beyond docker's own set each needs `allow: cap:NAME`"},
		{path: s + ".privileged", verdict: honoured, note: "`true` needs `allow: privileged`"},
		{path: s + ".security_opt", verdict: honoured, note: "`no-new-privileges`; `seccomp:unconfined`, `apparmor`, `label` need `allow: security_opt`"},
		{path: s + ".devices", verdict: honoured, note: "needs `allow: devices`"},
		{path: s + ".devices.[].source", verdict: honoured},
		{path: s + ".devices.[].target", verdict: honoured},
		{path: s + ".devices.[].permissions", verdict: honoured},
		{path: s + ".device_cgroup_rules", verdict: planned, note: noAllow},
		{path: s + ".gpus", verdict: planned, note: noAllow},
		{path: s + ".pid", verdict: honoured, note: "`host` alone; needs `allow: pid:host`"},
		{path: s + ".ipc", verdict: honoured, note: "`host` alone; needs `allow: ipc:host`"},
		{path: s + ".uts", verdict: honoured, note: "`host` alone; needs `allow: uts:host`"},
		{path: s + ".userns_mode", verdict: honoured, note: "`host` alone; needs `allow: userns_mode:host`"},
		{path: s + ".cgroup", verdict: planned, note: noAllow},
		{path: s + ".runtime", verdict: planned, note: noAllow},
		{path: s + ".cgroup_parent", verdict: notPlanned, note: "remove it, replicas have a parent of their own"},
		{path: s + ".use_api_socket", verdict: notPlanned, note: "remove it, the engine's socket is the node"},
		{path: s + ".credential_spec", verdict: notPlanned, note: windowsOnly},
		{path: s + ".isolation", verdict: notPlanned, note: windowsOnly},
		{path: s + ".sysctls", verdict: honoured},
		{path: s + ".sysctls.*", verdict: honoured},
		{path: s + ".ulimits", verdict: honoured},
		{path: s + ".ulimits.*", verdict: honoured},
		{path: s + ".ulimits.*.soft", verdict: honoured},
		{path: s + ".ulimits.*.hard", verdict: honoured},
		{path: s + ".oom_kill_disable", verdict: notPlanned, note: "set deploy.resources.limits.memory"},
		{path: s + ".oom_score_adj", verdict: notPlanned, note: "set deploy.resources.reservations.memory"},
		{path: s + ".blkio_config", verdict: notPlanned, note: "limit the disk on the node"},
		{path: s + ".cpu_count", verdict: notPlanned, note: useCPULimit},
		{path: s + ".cpu_percent", verdict: notPlanned, note: useCPULimit},
		{path: s + ".cpu_period", verdict: notPlanned, note: useCPULimit},
		{path: s + ".cpu_quota", verdict: notPlanned, note: useCPULimit},
		{path: s + ".cpu_rt_period", verdict: notPlanned, note: useCPULimit},
		{path: s + ".cpu_rt_runtime", verdict: notPlanned, note: useCPULimit},
		{path: s + ".cpu_shares", verdict: notPlanned, note: "use deploy.resources.reservations.cpus"},
		{path: s + ".cpus", verdict: notPlanned, note: useCPULimit},
		{path: s + ".cpuset", verdict: notPlanned, note: useCPULimit},
		{path: s + ".mem_limit", verdict: notPlanned, note: "use deploy.resources.limits.memory"},
		{path: s + ".mem_reservation", verdict: notPlanned, note: "use deploy.resources.reservations.memory"},
		{path: s + ".mem_swappiness", verdict: notPlanned, note: "configure swap on the node"},
		{path: s + ".memswap_limit", verdict: notPlanned, note: "configure swap on the node"},
		{path: s + ".pids_limit", verdict: notPlanned, note: "use deploy.resources.limits.pids"},
	}
}

func deployFields() []field {
	const d = "services.*.deploy"
	return []field{
		{path: d, verdict: honoured},
		{path: d + ".mode", verdict: honoured, note: "`replicated` (default), `global`; jobs are refused, planned"},
		{path: d + ".replicas", verdict: honoured, note: "default 1"},
		{path: d + ".labels", verdict: notPlanned, note: "use labels"},
		{path: d + ".endpoint_mode", verdict: notPlanned, note: "remove it, a name answers with the replicas' addresses"},
		{path: d + ".placement", verdict: honoured},
		{path: d + ".placement.constraints", verdict: honoured, note: "`node.hostname` and `node.labels.*` with `==` and `!=`"},
		{path: d + ".placement.max_replicas_per_node", verdict: honoured},
		{path: d + ".placement.preferences", verdict: planned, note: "replicas are spread over nodes without it"},
		{path: d + ".resources", verdict: honoured},
		{path: d + ".resources.limits", verdict: honoured},
		{path: d + ".resources.limits.cpus", verdict: honoured, check: checkCPUs},
		{path: d + ".resources.limits.memory", verdict: honoured, check: checkBytes},
		{path: d + ".resources.limits.pids", verdict: honoured},
		{path: d + ".resources.reservations", verdict: honoured},
		{path: d + ".resources.reservations.cpus", verdict: honoured, check: checkCPUs},
		{path: d + ".resources.reservations.memory", verdict: honoured, check: checkBytes},
		{path: d + ".resources.reservations.devices", verdict: planned, note: noAllow},
		{path: d + ".resources.reservations.generic_resources", verdict: notPlanned, note: "use deploy.placement.constraints on a node label"},
		{path: d + ".restart_policy", verdict: honoured},
		{path: d + ".restart_policy.condition", verdict: honoured, note: "`any` (default), `on-failure`, `none`"},
		{path: d + ".restart_policy.delay", verdict: honoured, note: "default: 1s, doubling to 1m", check: checkDuration},
		{path: d + ".restart_policy.max_attempts", verdict: honoured},
		{path: d + ".restart_policy.window", verdict: honoured, check: checkDuration},
		{path: d + ".update_config", verdict: honoured},
		{path: d + ".update_config.order", verdict: honoured, note: "default `start-first`; `stop-first` with a fixed host port or a named volume"},
		{path: d + ".update_config.parallelism", verdict: honoured, note: "default 1; 0 is all at once"},
		{path: d + ".update_config.delay", verdict: honoured, check: checkDuration},
		{path: d + ".update_config.monitor", verdict: honoured, note: "default 5s", check: checkDuration},
		{path: d + ".update_config.max_failure_ratio", verdict: honoured, note: "default 0"},
		{path: d + ".update_config.failure_action", verdict: honoured, note: "`rollback` (default), `pause`, `continue`"},
		{path: d + ".rollback_config", verdict: planned, note: "update_config counts in both directions until then"},
	}
}

func networkFields() []field {
	const n = "networks.*"
	return []field{
		{path: n, verdict: honoured, note: "one bridge network of the deployment's own"},
		{path: n + ".driver", verdict: honoured, note: "`bridge`; others are refused"},
		{path: n + ".internal", verdict: honoured},
		{path: n + ".labels", verdict: honoured, note: "`sh.jaco.*` is refused"},
		{path: n + ".labels.*", verdict: honoured},
		{path: n + ".name", verdict: honoured, note: "needs `allow: network:NAME`"},
		{path: n + ".external", verdict: honoured, note: "must be on the node; needs `allow: network:NAME`"},
		{path: n + ".external.name", verdict: notPlanned, note: "write `external: true` and `name` beside it"},
		{path: n + ".attachable", verdict: notPlanned, note: "remove it"},
		{path: n + ".driver_opts", verdict: notPlanned, note: "remove it"},
		{path: n + ".enable_ipv4", verdict: notPlanned, note: "remove it"},
		{path: n + ".enable_ipv6", verdict: planned, note: "use IPv4"},
		{path: n + ".ipam", verdict: notPlanned, note: givenByUs},
	}
}

func volumeFields() []field {
	const v = "volumes.*"
	return []field{
		{path: v, verdict: honoured, note: "kept on its node as `jaco_<deployment>_<name>`"},
		{path: v + ".driver", verdict: honoured, note: "`local`; others are refused, planned"},
		{path: v + ".labels", verdict: honoured, note: "`sh.jaco.*` is refused"},
		{path: v + ".labels.*", verdict: honoured},
		{path: v + ".x-jaco-prune", verdict: honoured, note: "`true`: the volume may be removed once no revision declares it"},
		{path: v + ".name", verdict: honoured, note: "needs `allow: volume:NAME`"},
		{path: v + ".external", verdict: honoured, note: "must be on the node; needs `allow: volume:NAME`"},
		{path: v + ".external.name", verdict: notPlanned, note: "write `external: true` and `name` beside it"},
		{path: v + ".driver_opts", verdict: planned, note: noAllow},
	}
}

func secretFields() []field {
	const s = "secrets.*"
	const ours = "names are the deployment's own; use file"
	return []field{
		{path: s, verdict: honoured, note: "one encrypted file of the folder"},
		{path: s + ".file", verdict: honoured, note: "`*.sops.env`, `*.sops.yaml`, `*.sops.json`, or any `*.sops.*` for one value; a file in clear is refused"},
		{path: s + ".environment", verdict: notPlanned, note: "the host's environment is never read; use file"},
		{path: s + ".external", verdict: notPlanned, note: ours},
		{path: s + ".name", verdict: notPlanned, note: ours},
		{path: s + ".labels", verdict: notPlanned, note: "remove it"},
		{path: s + ".driver", verdict: notPlanned, note: "use file"},
		{path: s + ".driver_opts", verdict: notPlanned, note: "use file"},
		{path: s + ".template_driver", verdict: notPlanned, note: "use file"},
	}
}
