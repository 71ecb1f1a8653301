// Package orders keeps orders in PostgreSQL.
package orders

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"strings"

	_ "github.com/lib/pq" // takes PGHOST, PGUSER, PGPASSWORD and so on from the environment
)

// Order is one order.
type Order struct {
	ID       int64  `json:"id"`
	Item     string `json:"item"`
	Quantity int    `json:"quantity"`
	Status   string `json:"status"` // open or shipped
}

// Check returns what is wrong with an order that somebody sent.
func (o Order) Check() error {
	switch {
	case strings.TrimSpace(o.Item) == "":
		return errors.New("item is missing")
	case o.Quantity < 1 || o.Quantity > 100:
		return fmt.Errorf("quantity is %d: want 1 to 100", o.Quantity)
	}
	return nil
}

// Store is the database.
type Store struct{ db *sql.DB }

// Open returns the database that the environment names. It connects when it is first used.
func Open() (*Store, error) {
	db, err := sql.Open("postgres", "connect_timeout=5")
	if err != nil {
		return nil, err
	}
	return &Store{db}, nil
}

// Ping reports whether the database answers and has the tables.
func (s *Store) Ping(ctx context.Context) error {
	_, err := s.db.ExecContext(ctx, "SELECT 1 FROM orders LIMIT 1")
	return err
}

//go:embed migrations/*.sql
var migrations embed.FS

// Migrate brings the tables up to date, once for each file of migrations. Two that run at once do no harm.
func (s *Store) Migrate(ctx context.Context) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(7); CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY)`); err != nil {
		return err
	}
	files, err := migrations.ReadDir("migrations") // in the order of their names
	if err != nil {
		return err
	}
	for _, file := range files {
		done, err := tx.ExecContext(ctx, `INSERT INTO migrations VALUES ($1) ON CONFLICT DO NOTHING`, file.Name())
		if err != nil {
			return err
		}
		if rows, err := done.RowsAffected(); err != nil || rows == 0 {
			continue
		}
		statements, err := migrations.ReadFile("migrations/" + file.Name())
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, string(statements)); err != nil {
			return fmt.Errorf("%s: %w", file.Name(), err)
		}
	}
	return tx.Commit()
}

// Add stores an order.
func (s *Store) Add(ctx context.Context, o Order) (Order, error) {
	err := s.db.QueryRowContext(ctx, `INSERT INTO orders (item, quantity) VALUES ($1, $2) RETURNING id, status`, o.Item, o.Quantity).
		Scan(&o.ID, &o.Status)
	return o, err
}

// List returns all orders, the oldest first.
func (s *Store) List(ctx context.Context) ([]Order, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT id, item, quantity, status FROM orders ORDER BY id`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := []Order{}
	for rows.Next() {
		var o Order
		if err := rows.Scan(&o.ID, &o.Item, &o.Quantity, &o.Status); err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	return all, rows.Err()
}

// Ship ships the oldest open order. found is false when there is none. Two workers do not take the same one.
func (s *Store) Ship(ctx context.Context) (id int64, found bool, err error) {
	err = s.db.QueryRowContext(ctx, `UPDATE orders SET status = 'shipped' WHERE id =
		(SELECT id FROM orders WHERE status = 'open' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id`).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	return id, err == nil, err
}
