package flight

import "sync"

// Memo keeps what was worked out. The zero value is ready to use.
type Memo struct{ values sync.Map }

// Remember returns what f returned for a key at first. Errors are not kept. Those who ask at the same time all work.
func Remember[T any](m *Memo, key string, f func() (T, error)) (T, error) {
	if v, ok := m.values.Load(key); ok {
		return v.(T), nil
	}
	value, err := f()
	if err == nil {
		m.values.Store(key, value)
	}
	return value, err
}
