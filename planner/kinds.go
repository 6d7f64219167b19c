package planner

// Every kind, in the order in which their steps run. To add one, add a line.
var kinds []kind

func init() { // kinds look at each other's objects, which a plain initialiser would call a cycle
	kinds = []kind{
		roleKind,
		schemaKind,
		queueKind,
		consumerKind,
		captureKind,
		nodeKind,
		tableKind,
		sequenceKind,
		scriptKind,
		archiveKind,
		standbyKind,
		replayKind,
		settingKind,
	}
}
