package orders

import "testing"

func TestCheck(t *testing.T) {
	for name, tt := range map[string]struct {
		order Order
		want  string
	}{
		"as it should be": {Order{Item: "tea", Quantity: 2}, ""},
		"no item":         {Order{Item: " ", Quantity: 2}, "item is missing"},
		"nothing of it":   {Order{Item: "tea"}, "quantity is 0: want 1 to 100"},
		"too much":        {Order{Item: "tea", Quantity: 101}, "quantity is 101: want 1 to 100"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := tt.order.Check(); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestMigrationsAreInTheImage(t *testing.T) {
	files, err := migrations.ReadDir("migrations")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
}
