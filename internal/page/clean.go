package page

import "reflect"

// clean replaces every string in a value, however deep it is, by what r.text makes of it.
func (r *Run) clean(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(r.text(v.String()))
	case reflect.Struct:
		for i := range v.NumField() {
			r.clean(v.Field(i))
		}
	case reflect.Slice:
		for i := range v.Len() {
			r.clean(v.Index(i))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			r.clean(v.Elem())
		}
	}
}
