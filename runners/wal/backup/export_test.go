package backup

// Small packs make tests quick.
func init() { packSize = 1 << 20 }
